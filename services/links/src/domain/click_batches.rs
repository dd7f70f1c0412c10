//! Storing batches of clicks from the log.
//!
//! A batch is one transaction: the clicks, their visitors, the hourly rollups and the totals. Only
//! clicks that are new change a rollup, so that a batch may be stored any number of times: a reader of
//! the log never has to remember what it has stored.
//!
//! Two limits of age keep that true. A click older than `clicks.retention_days` is skipped, because
//! its row, which would prove it a duplicate, is already deleted. The visitor of a click older than
//! [`VISITOR_DAYS`] is ignored for the same reason: the click then counts as people, not as unique.

use std::borrow::Cow;

use chrono::{DateTime, Days, Utc};
use serde_json::json;

use super::{Context, values::click::Click};
use crate::store::clicks::{self, ClickColumns};

/// Days for which visitor hashes are kept and compared.
pub(crate) const VISITOR_DAYS: u64 = 7;

/// Stores clicks, any of which may be stored already.
///
/// A click that Postgres rejects for its data would block all clicks behind it. The batch is
/// therefore halved until that click is alone, and then the click is discarded.
///
/// # Errors
/// Any other failure of the database; a retry may succeed.
pub(crate) async fn store(ctx: &Context, clicks: &[Click]) -> Result<(), sqlx::Error> {
    let now = ctx.clock.now();
    let mut stack = vec![clicks];
    while let Some(part) = stack.pop() {
        let columns = columns(part, now, ctx.config.clicks.retention_days);
        if columns.ids.is_empty() {
            continue;
        }
        match insert(ctx, &columns).await {
            Ok(new) => {
                let new = u64::try_from(new).unwrap_or(0);
                ctx.metrics.clicks_recorded.inc_by(new);
            }
            Err(error) if is_about_data(&error) => {
                if let [click] = part {
                    ctx.metrics.clicks_rejected.inc();
                    tracing::error!(click_id = %click.id, %error, "click rejected by Postgres");
                } else {
                    let (first, second) = part.split_at(part.len() / 2);
                    stack.extend([second, first]);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn insert(ctx: &Context, columns: &ClickColumns) -> Result<i64, sqlx::Error> {
    let mut db = quartet_db::write(&ctx.clicks_db).await?;
    let new = clicks::insert_batch(&mut db, columns).await?;
    db.commit().await?;
    Ok(new)
}

fn columns(clicks: &[Click], now: DateTime<Utc>, retention_days: u32) -> ClickColumns {
    let oldest_visitor = (now - Days::new(VISITOR_DAYS - 1)).date_naive();
    let oldest = match retention_days {
        0 => DateTime::<Utc>::MIN_UTC,
        days => now - Days::new(days.into()),
    };
    let mut columns = ClickColumns::default();
    let mut dimensions = Vec::new();
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
        columns.devices.push(click.device.clone().into_owned());
        columns.bots.push(click.bot.clone().map(Cow::into_owned));
        dimensions.push((!click.dimensions.is_empty()).then_some(&click.dimensions));
    }
    if dimensions.iter().any(Option::is_some) {
        columns.dimensions = Some(json!(dimensions));
    }
    columns
}

/// Data exceptions (class 22) and integrity violations (class 23). Nothing else, such as a missing
/// privilege, justifies discarding clicks.
fn is_about_data(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(|error| error.code().map(Cow::into_owned));
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}
