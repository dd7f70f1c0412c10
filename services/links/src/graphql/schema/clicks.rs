//! Counts of clicks.

use std::{collections::HashMap, time::SystemTime};

use async_graphql::{
    Context, Enum, Object, SimpleObject,
    dataloader::{DataLoader, Loader},
};
use chrono::{DateTime, Utc};
use quartet_auth::Actor;

use super::{
    parsed::{Parsed, argument},
    scope::scope,
};
use crate::{
    domain::{
        self,
        click_series::{self, Point, Span},
    },
    graphql::{
        budget::Meter,
        error::{ResolverError, Result},
    },
    store::{
        clicks::PointRow,
        links::{LinkId, LinkRow},
    },
};

/// The cost of a series beside its points.
const SERIES_COST: usize = 10;

pub(super) struct Clicks(pub(super) LinkRow);

/// The length of time that one point of a series covers.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "crate::domain::click_series::Interval")]
pub(super) enum Interval {
    /// An hour of the clock, UTC.
    Hour,
    /// A day, midnight to midnight UTC.
    Day,
}

/// The clicks of one hour or day.
#[derive(Clone, SimpleObject)]
pub(super) struct ClickPoint {
    /// The start of the hour or day.
    at: DateTime<Utc>,
    /// Clicks of people and bots.
    total: i64,
    /// Clicks of people.
    people: i64,
    /// People whose first click of the UTC day was in this hour or on this day.
    unique: i64,
    /// Clicks of bots.
    bots: i64,
}

/// The clicks on a link, from its creation on.
///
/// A visitor is a bot if the `User-Agent` header is missing or names one, or if the request is a
/// HEAD request or a prefetch; otherwise a person. People are recognized within one UTC day, by a
/// hash whose key is then deleted. Those who ask not to be tracked (DNT, GPC) are never counted as
/// unique.
#[Object]
impl Clicks {
    /// Clicks of people and bots.
    async fn total(&self) -> i64 {
        self.0.people + self.0.bots
    }

    /// Clicks of people.
    async fn people(&self) -> i64 {
        self.0.people
    }

    /// Different people, each counted once per UTC day. Exact, not an estimate.
    async fn unique(&self) -> i64 {
        self.0.uniques
    }

    /// Clicks of bots.
    async fn bots(&self) -> i64 {
        self.0.bots
    }

    /// When the link was last followed. Null before the first click.
    async fn last_at(&self) -> Option<DateTime<Utc>> {
        self.0.last_click_at
    }

    /// Counts by hour or by day, oldest first, zeros included. At most 1000 points. `from` is
    /// rounded down and `to` up to a whole hour or day.
    #[graphql(complexity = "SERIES_COST + max_points(by, from, to) * child_complexity")]
    async fn series(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The length of time that one point covers.")] by: Interval,
        #[graphql(
            desc = "The start, years 1970 to 9999. Default: 24 hours or 30 days before `to`."
        )]
        from: Option<Parsed<DateTime<Utc>>>,
        #[graphql(desc = "The end, after `from`, years 1970 to 9999. Default: now.")] to: Option<
            Parsed<DateTime<Utc>>,
        >,
    ) -> Result<Vec<ClickPoint>> {
        let (context, _) = scope(ctx)?;
        let (from, to) = (argument(from, "/from")?, argument(to, "/to")?);
        let span = Span::new(by.into(), from, to, context.clock.now())?;
        let loader = ctx.data::<DataLoader<SeriesLoader>>()?;
        let rows = loader
            .load_one((self.0.id, span))
            .await?
            .unwrap_or_default();
        Ok(span.points(rows).map(ClickPoint::from).collect())
    }
}

impl From<Point> for ClickPoint {
    fn from(point: Point) -> Self {
        Self {
            at: point.at,
            total: point.people + point.bots,
            people: point.people,
            unique: point.uniques,
            bots: point.bots,
        }
    }
}

/// The number of points of a series, for the cost of the operation; 0 if its span is invalid, because
/// then it has none. The cost is computed where the clock of the service is out of reach, so that an
/// open end is that of the system's.
fn max_points(
    by: Interval,
    from: Option<Parsed<DateTime<Utc>>>,
    to: Option<Parsed<DateTime<Utc>>>,
) -> usize {
    let (Ok(from), Ok(to)) = (argument(from, "/from"), argument(to, "/to")) else {
        return 0;
    };
    let span = Span::new(by.into(), from, to, SystemTime::now().into());
    span.map_or(0, Span::len)
}

/// Loads the series of all links of a response in one transaction.
pub(super) struct SeriesLoader {
    context: domain::Context,
    actor: Actor,
    meter: Meter,
}

pub(super) fn series_loader(
    context: domain::Context,
    actor: Actor,
    meter: Meter,
) -> DataLoader<SeriesLoader> {
    let loader = SeriesLoader {
        context,
        actor,
        meter,
    };
    DataLoader::new(loader, tokio::spawn)
}

impl Loader<(LinkId, Span)> for SeriesLoader {
    type Value = Vec<PointRow>;
    type Error = ResolverError;

    async fn load(
        &self,
        keys: &[(LinkId, Span)],
    ) -> Result<HashMap<(LinkId, Span), Vec<PointRow>>> {
        let _connection = self.meter.connection().await?;
        Ok(click_series::load(&self.context, &self.actor, keys).await?)
    }
}
