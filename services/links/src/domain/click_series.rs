//! Click series: the counts of a link by hour or by day.
//!
//! A [`Span`] is checked once and covers whole hours or days of UTC, at most [`MAX_POINTS`]. The
//! database has rows only for hours with clicks; [`Span::points`] adds the zeros.

use std::{collections::HashMap, iter};

use chrono::{DateTime, Duration, DurationRound, NaiveTime, Utc};
use quartet_auth::Actor;
use quartet_common::problem::Rule;

use super::{Context, values::times};
use crate::{
    error::{Error, Field},
    store::{
        self,
        clicks::{Period, PointRow},
        links::LinkId,
    },
};

const MAX_POINTS: usize = 1000;
const DEFAULT_HOURS: i32 = 24;
const DEFAULT_DAYS: i32 = 30;

/// The length of time that one point covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Interval {
    Hour,
    Day,
}

/// A range of whole hours or days. The end is exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    interval: Interval,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

/// The counts of one hour or day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) at: DateTime<Utc>,
    pub(crate) people: i64,
    pub(crate) uniques: i64,
    pub(crate) bots: i64,
}

impl Span {
    /// Rounds outward to whole hours or days. Default: the last 24 hours or 30 days.
    ///
    /// # Errors
    /// `Invalid` for `From` or `To`.
    pub(crate) fn new(
        interval: Interval,
        from: Option<DateTime<Utc>>,
        to: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let bounded = |at, field| times::bounded(at).map_err(|rule| Error::invalid(field, rule));
        let to = interval.ceil(bounded(to.unwrap_or(now), Field::To)?);
        let from = from.unwrap_or(to - interval.default_length());
        let from = interval.floor(bounded(from, Field::From)?);
        if from >= to {
            let rule = Rule::new("not_before_to", "must be before `to`");
            return Err(Error::invalid(Field::From, rule));
        }
        let span = Self { interval, from, to };
        if span.len() > MAX_POINTS {
            let detail = format!("must be at most {MAX_POINTS} points before `to`");
            return Err(Error::invalid(
                Field::From,
                Rule::new("too_many_points", detail),
            ));
        }
        Ok(span)
    }

    /// The number of points.
    pub(crate) fn len(self) -> usize {
        let points = (self.to - self.from).num_seconds() / self.interval.length().num_seconds();
        usize::try_from(points).unwrap_or(0)
    }

    /// A point for every hour or day, oldest first, from rows in the same order.
    pub(crate) fn points(self, rows: Vec<PointRow>) -> impl Iterator<Item = Point> {
        let mut rows = rows.into_iter().peekable();
        let next = move |at: &DateTime<Utc>| Some(*at + self.interval.length());
        iter::successors(Some(self.from), next)
            .take_while(move |at| *at < self.to)
            .map(move |at| {
                let row = rows.next_if(|row| row.at == at);
                let (people, uniques, bots) =
                    row.map_or((0, 0, 0), |row| (row.people, row.uniques, row.bots));
                Point {
                    at,
                    people,
                    uniques,
                    bots,
                }
            })
    }
}

impl Interval {
    fn length(self) -> Duration {
        match self {
            Self::Hour => Duration::hours(1),
            Self::Day => Duration::days(1),
        }
    }

    fn default_length(self) -> Duration {
        match self {
            Self::Hour => self.length() * DEFAULT_HOURS,
            Self::Day => self.length() * DEFAULT_DAYS,
        }
    }

    /// The field of Postgres' `date_trunc`.
    fn unit(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    fn floor(self, at: DateTime<Utc>) -> DateTime<Utc> {
        // Rounding fails beyond the year 2262, where nanoseconds overflow: midnight will do there.
        at.duration_trunc(self.length())
            .unwrap_or_else(|_| at.date_naive().and_time(NaiveTime::MIN).and_utc())
    }

    fn ceil(self, at: DateTime<Utc>) -> DateTime<Utc> {
        let start = self.floor(at);
        if start == at {
            return at;
        }
        start.checked_add_signed(self.length()).unwrap_or(at)
    }
}

/// The rows of many series in one transaction, with one statement per span. Series without clicks
/// are missing. They may be as old as `database.read_max_lag_seconds` allows.
///
/// # Errors
/// `Database`.
pub(crate) async fn load(
    ctx: &Context,
    actor: &Actor,
    series: &[(LinkId, Span)],
) -> Result<HashMap<(LinkId, Span), Vec<PointRow>>, Error> {
    let mut by_span: HashMap<Span, Vec<LinkId>> = HashMap::new();
    for (link_id, span) in series {
        by_span.entry(*span).or_default().push(*link_id);
    }
    let mut loaded: HashMap<(LinkId, Span), Vec<PointRow>> = HashMap::new();
    let mut tx = ctx.reads.begin_as(actor.principals()).await?;
    for (span, links) in by_span {
        let period = Period {
            unit: span.interval.unit(),
            from: span.from,
            to: span.to,
        };
        for row in store::clicks::series(&mut tx, actor.owner(), &links, period).await? {
            loaded.entry((row.link_id, span)).or_default().push(row);
        }
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn spans_are_rounded_outward_and_filled_with_zeros() {
        let now = at("2026-03-04T05:06:07Z");
        let span = Span::new(Interval::Hour, Some(at("2026-03-04T02:59:00Z")), None, now).unwrap();
        let row = PointRow {
            link_id: uuid::Uuid::nil().into(),
            at: at("2026-03-04T03:00:00Z"),
            people: 2,
            uniques: 1,
            bots: 1,
        };
        let points: Vec<(String, i64)> = span
            .points(vec![row])
            .map(|point| (point.at.to_string(), point.people + point.bots))
            .collect();
        let hours = ["02", "03", "04", "05"].map(|hour| format!("2026-03-04 {hour}:00:00 UTC"));
        let expected: Vec<_> = hours.into_iter().zip([0, 3, 0, 0]).collect();
        assert_eq!(points, expected);
        let default = Span::new(Interval::Day, None, None, now).unwrap();
        assert_eq!(default.points(Vec::new()).count(), 30);
    }

    #[test]
    fn spans_out_of_bounds_name_the_rule() {
        let now = at("2026-03-04T05:06:07Z");
        let code = |by, from: &str, to: &str| {
            let span = Span::new(by, Some(at(from)), Some(at(to)), now);
            span.map_err(|error| match error {
                Error::Invalid(violations) => violations[0].rule.code,
                other => panic!("{other:?}"),
            })
        };
        let (day, hour) = (Interval::Day, Interval::Hour);
        let cases = [
            (
                day,
                "2026-01-02T00:00:00Z",
                "2026-01-01T00:00:00Z",
                "not_before_to",
            ),
            (
                hour,
                "2020-01-01T00:00:00Z",
                "2026-01-01T00:00:00Z",
                "too_many_points",
            ),
            (
                day,
                "1969-01-01T00:00:00Z",
                "2026-01-01T00:00:00Z",
                "out_of_range",
            ),
        ];
        for (by, from, to, expected) in cases {
            assert_eq!(code(by, from, to), Err(expected), "{from} to {to}");
        }
        assert!(code(hour, "9999-12-31T20:30:00Z", "9999-12-31T22:30:00Z").is_ok());
        assert!(Span::new(day, None, Some(at("1970-01-01T00:00:00Z")), now).is_err());
    }
}
