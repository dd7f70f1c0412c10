//! From records of the log to rows of the database.

use chrono::{DateTime, Days, Utc};
use sqlx::PgPool;

use crate::{
    domain::clicks::Click,
    metrics::LinkMetrics,
    store::clicks::{self, Columns},
};

/// Visitor hashes are compared within their day for this long; afterwards their table is
/// gone, and a visitor who is replayed could be counted again.
pub(super) const VISITOR_DAYS: u64 = 7;

/// Writes batches. Clones share the counts.
#[derive(Clone, Debug)]
pub(crate) struct Batches {
    pub(crate) pool: PgPool,
    pub(crate) metrics: LinkMetrics,
    /// Clicks that are older are not kept, so they must not be counted again either. 0: any age.
    pub(crate) retention_days: u32,
}

impl Batches {
    /// Writes clicks, each of which may be there already.
    ///
    /// A click that Postgres refuses for what is in it would hold up all others for ever:
    /// the batch is halved until it stands alone, and then it is left out.
    ///
    /// # Errors
    /// Whatever may be gone at the next try.
    pub(crate) async fn write(
        &self,
        clicks: &[Click],
        now: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        let mut stack = vec![clicks];
        while let Some(part) = stack.pop() {
            let columns = self.columns(part, now);
            if columns.ids.is_empty() {
                continue;
            }
            match clicks::record(&self.pool, &columns).await {
                Ok(new) => {
                    self.metrics
                        .clicks_recorded
                        .inc_by(u64::try_from(new).unwrap_or(0));
                }
                Err(error) if is_about_data(&error) => {
                    if let [click] = part {
                        self.metrics.clicks_rejected.inc();
                        tracing::error!(id = %click.id, %error, "Postgres refuses a click");
                    } else {
                        let (one, other) = part.split_at(part.len() / 2);
                        stack.extend([other, one]);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn columns(&self, clicks: &[Click], now: DateTime<Utc>) -> Columns {
        let oldest_visitor = (now - Days::new(VISITOR_DAYS - 1)).date_naive();
        let oldest = match self.retention_days {
            0 => DateTime::<Utc>::MIN_UTC,
            days => now - Days::new(days.into()),
        };
        let mut columns = Columns::default();
        for click in clicks {
            let at = click.at();
            if at < oldest {
                continue;
            }
            let visitor = click.visitor.filter(|_| at.date_naive() >= oldest_visitor);
            columns.ids.push(click.id);
            columns.ats.push(at);
            columns.link_ids.push(click.link_id);
            columns.visitors.push(visitor.map(|hash| hash.to_vec()));
            columns.countries.push(click.country.clone());
            columns.referrer_hosts.push(click.referrer_host.clone());
            columns.devices.push(click.device.clone());
            columns.bots.push(click.bot.clone());
        }
        columns
    }
}

/// Data exceptions and broken constraints. Anything else, such as a missing right, is no
/// reason to throw clicks away.
fn is_about_data(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(|error| error.code().map(std::borrow::Cow::into_owned));
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}
