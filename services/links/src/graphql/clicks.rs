//! Counts of clicks.

use std::{collections::HashMap, sync::Arc};

use async_graphql::{
    Context, Enum, Object, Result, SimpleObject,
    dataloader::{DataLoader, Loader},
};
use chrono::{DateTime, Duration, DurationRound, Utc};
use uuid::Uuid;

use super::{bounded_time, error::graphql};
use crate::{
    domain::links::Links,
    error::Error,
    store::{self, clicks::PointRow, links::LinkRow},
};

/// Points of one series.
const MAX_POINTS: i64 = 1000;
const DEFAULT_HOURS: i64 = 24;
const DEFAULT_DAYS: i64 = 30;

/// Who came through a link.
pub(super) struct Clicks {
    pub(super) row: LinkRow,
}

/// Width of a point.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Enum)]
pub(super) enum Interval {
    Hour,
    /// From midnight to midnight, UTC.
    Day,
}

/// Clicks in one hour or on one day.
#[derive(Clone, SimpleObject)]
pub(super) struct ClickPoint {
    /// Beginning of the hour or day.
    at: DateTime<Utc>,
    /// All visits: people and bots.
    total: i64,
    /// Visits of people.
    people: i64,
    /// People who came for the first time on that day.
    unique: i64,
    /// Visits of crawlers, previews and programs, HEAD requests and prefetches.
    bots: i64,
}

/// Who came through a link.
///
/// A visitor is recognised for one UTC day, by a keyed hash whose key is then thrown away;
/// whoever comes on two days counts twice. Visitors who ask not to be tracked (DNT, GPC) are
/// people, but never unique.
#[Object]
impl Clicks {
    /// All answered visits: people and bots.
    async fn total(&self) -> i64 {
        self.row.people + self.row.bots
    }

    /// Visits of people.
    async fn people(&self) -> i64 {
        self.row.people
    }

    /// Different people, day by day. Exact.
    async fn unique(&self) -> i64 {
        self.row.uniques
    }

    /// Visits of crawlers, previews and programs, HEAD requests and prefetches.
    async fn bots(&self) -> i64 {
        self.row.bots
    }

    /// Time of the last visit.
    async fn last_at(&self) -> Option<DateTime<Utc>> {
        self.row.last_click_at
    }

    /// Counts by hour or day, oldest first, with zeros where nobody came; at most 1000 points.
    /// `from` and `to` are widened to whole hours or days.
    #[graphql(complexity = "100 + child_complexity")]
    async fn series(
        &self,
        ctx: &Context<'_>,
        by: Interval,
        #[graphql(desc = "Left out: 24 hours or 30 days before `to`.")] from: Option<DateTime<Utc>>,
        #[graphql(desc = "Left out: now.")] to: Option<DateTime<Utc>>,
    ) -> Result<Vec<ClickPoint>> {
        let now = ctx.data::<Links>()?.clock.now();
        let span = Span::new(by, from, to, now).map_err(graphql)?;
        let loader = ctx.data::<DataLoader<SeriesLoader>>()?;
        let rows = loader
            .load_one(SeriesKey {
                link_id: self.row.id,
                span,
            })
            .await?;
        Ok(span.fill(&rows.unwrap_or_default()))
    }
}

/// A stretch of whole hours or days; the end is left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Span {
    by: Interval,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl Span {
    fn new(
        by: Interval,
        from: Option<DateTime<Utc>>,
        to: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let count = match by {
            Interval::Hour => DEFAULT_HOURS,
            Interval::Day => DEFAULT_DAYS,
        };
        let to = ceiling(bounded_time(to.unwrap_or(now), "/to")?, by);
        let default_from = to - by.width() * i32::try_from(count).unwrap_or(i32::MAX);
        let from = floor(bounded_time(from.unwrap_or(default_from), "/from")?, by);
        if from >= to {
            return Err(Error::field(
                "/from",
                "not_before_to",
                "must lie before `to`",
            ));
        }
        if (to - from).num_seconds() / by.width().num_seconds() > MAX_POINTS {
            let detail = format!("must not ask for more than {MAX_POINTS} points");
            return Err(Error::field("/from", "too_many_points", detail));
        }
        Ok(Self { by, from, to })
    }

    fn fill(self, rows: &[PointRow]) -> Vec<ClickPoint> {
        let mut rows = rows.iter().peekable();
        let mut points = Vec::new();
        let mut at = self.from;
        while at < self.to {
            let row = rows.next_if(|row| row.at == at);
            let (people, unique, bots) = row.map_or((0, 0, 0), |r| (r.people, r.uniques, r.bots));
            points.push(ClickPoint {
                at,
                total: people + bots,
                people,
                unique,
                bots,
            });
            at += self.by.width();
        }
        points
    }
}

impl Interval {
    fn width(self) -> Duration {
        match self {
            Self::Hour => Duration::hours(1),
            Self::Day => Duration::days(1),
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

fn floor(at: DateTime<Utc>, by: Interval) -> DateTime<Utc> {
    // Within 1970 to 9999, which is checked, rounding cannot fail, save beyond the year 2262.
    at.duration_trunc(by.width())
        .unwrap_or_else(|_| at.date_naive().and_time(chrono::NaiveTime::MIN).and_utc())
}

fn ceiling(at: DateTime<Utc>, by: Interval) -> DateTime<Utc> {
    let start = floor(at, by);
    if start == at {
        at
    } else {
        start.checked_add_signed(by.width()).unwrap_or(at)
    }
}

/// Loads the series of many links at once. Made anew for each request.
pub(super) struct SeriesLoader {
    pub(super) links: Links,
    pub(super) owner: Arc<str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SeriesKey {
    link_id: Uuid,
    span: Span,
}

impl Loader<SeriesKey> for SeriesLoader {
    type Value = Vec<PointRow>;
    type Error = async_graphql::Error;

    async fn load(&self, keys: &[SeriesKey]) -> Result<HashMap<SeriesKey, Self::Value>> {
        let mut by_span: HashMap<Span, Vec<Uuid>> = HashMap::new();
        for key in keys {
            by_span.entry(key.span).or_default().push(key.link_id);
        }
        let mut found: HashMap<SeriesKey, Self::Value> = HashMap::new();
        let mut tx = store::begin_as(&self.links.pool, &self.owner)
            .await
            .map_err(graphql)?;
        for (span, links) in by_span {
            let (unit, from, to) = (span.by.unit(), span.from, span.to);
            let rows = store::clicks::series(&mut tx, &self.owner, &links, unit, from, to);
            for row in rows.await.map_err(graphql)? {
                found
                    .entry(SeriesKey {
                        link_id: row.link_id,
                        span,
                    })
                    .or_default()
                    .push(row);
            }
        }
        tx.commit().await.map_err(graphql)?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn spans_are_widened_and_filled_with_zeros() {
        let now = at("2026-03-04T05:06:07Z");
        let span = Span::new(Interval::Hour, Some(at("2026-03-04T02:59:00Z")), None, now).unwrap();
        let row = PointRow {
            link_id: Uuid::nil(),
            at: at("2026-03-04T03:00:00Z"),
            people: 2,
            uniques: 1,
            bots: 1,
        };
        let points: Vec<(String, i64)> = span
            .fill(&[row])
            .iter()
            .map(|point| (point.at.to_string(), point.total))
            .collect();
        let hours = ["02", "03", "04", "05"].map(|hour| format!("2026-03-04 {hour}:00:00 UTC"));
        assert_eq!(
            points,
            hours.into_iter().zip([0, 3, 0, 0]).collect::<Vec<_>>()
        );
        assert_eq!(
            Span::new(Interval::Day, None, None, now)
                .unwrap()
                .fill(&[])
                .len(),
            30
        );
    }

    #[test]
    fn spans_out_of_bounds_are_refused_by_name() {
        let now = at("2026-03-04T05:06:07Z");
        let code = |by, from: &str, to: &str| {
            let Err(Error::Invalid(errors)) = Span::new(by, Some(at(from)), Some(at(to)), now)
            else {
                panic!("{from} to {to} is refused");
            };
            errors[0].code
        };
        assert_eq!(
            code(
                Interval::Day,
                "2026-01-02T00:00:00Z",
                "2026-01-01T00:00:00Z"
            ),
            "not_before_to"
        );
        assert_eq!(
            code(
                Interval::Hour,
                "2020-01-01T00:00:00Z",
                "2026-01-01T00:00:00Z"
            ),
            "too_many_points"
        );
        assert_eq!(
            code(
                Interval::Day,
                "1969-01-01T00:00:00Z",
                "2026-01-01T00:00:00Z"
            ),
            "out_of_range"
        );
        assert!(
            Span::new(
                Interval::Hour,
                Some(at("9999-12-31T20:30:00Z")),
                Some(at("9999-12-31T22:30:00Z")),
                now
            )
            .is_ok()
        );
        assert!(Span::new(Interval::Day, None, Some(at("1970-01-01T00:00:00Z")), now).is_err());
    }
}
