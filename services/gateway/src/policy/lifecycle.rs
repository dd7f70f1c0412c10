//! Announces on every response that a route is deprecated (RFC 9745) or will end (RFC 8594), and ends
//! it.

use chrono::{DateTime, Utc};
use http::{HeaderName, HeaderValue, header};
use quartet_common::clock::Clock;

use super::context::{Flow, ResponseHead};
use crate::{
    error,
    routing::{AfterSunset, Lifecycle},
};

static DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
static SUNSET: HeaderName = HeaderName::from_static("sunset");

#[derive(Debug)]
pub(super) struct Announcement {
    /// Values of headers that are set.
    values: Vec<(&'static HeaderName, HeaderValue)>,
    links: Vec<HeaderValue>,
    /// `None`: the route is served after its sunset too.
    ends: Option<DateTime<Utc>>,
    clock: Clock,
}

impl Announcement {
    pub(super) fn new(lifecycle: &Lifecycle, clock: &Clock) -> Self {
        let deprecation = lifecycle.deprecated_on.map(|date| {
            let text = format!("@{}", date.timestamp());
            (&DEPRECATION, text)
        });
        let sunset = lifecycle.sunset_on.map(|date| {
            let text = date.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
            (&SUNSET, text)
        });
        let values = deprecation.into_iter().chain(sunset);
        Self {
            values: values
                .filter_map(|(name, text)| Some((name, HeaderValue::try_from(text).ok()?)))
                .collect(),
            links: lifecycle.links.clone(),
            ends: lifecycle
                .sunset_on
                .filter(|_| lifecycle.after_sunset == AfterSunset::Gone),
            clock: clock.clone(),
        }
    }

    pub(super) fn on_request(&self) -> Flow {
        match self.ends {
            Some(ends) if self.clock.now() >= ends => Flow::Reply(error::version_retired().into()),
            _ => Flow::Continue,
        }
    }

    /// What the upstream links to stays.
    pub(super) fn on_response(&self, response: &mut dyn ResponseHead) {
        for (name, value) in &self.values {
            response.set((*name).clone(), value.clone());
        }
        for link in &self.links {
            response.append(header::LINK, link.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use http::StatusCode;

    use super::*;

    #[test]
    fn a_route_ends_with_the_beginning_of_its_day() {
        let ends = DateTime::from_timestamp(1_767_225_600, 0).unwrap();
        let clock = Clock::manual(ends - TimeDelta::seconds(1));
        let mut lifecycle = Lifecycle {
            deprecated_on: None,
            sunset_on: Some(ends),
            links: Vec::new(),
            after_sunset: AfterSunset::Gone,
        };
        let announcement = Announcement::new(&lifecycle, &clock);
        assert_eq!(announcement.values[0].1, "Thu, 01 Jan 2026 00:00:00 GMT");
        assert!(matches!(announcement.on_request(), Flow::Continue));
        clock.advance(TimeDelta::seconds(1));
        let Flow::Reply(answer) = announcement.on_request() else {
            panic!("it has ended");
        };
        assert_eq!(answer.status(), StatusCode::GONE);
        lifecycle.after_sunset = AfterSunset::Serve;
        let announcement = Announcement::new(&lifecycle, &clock);
        assert!(matches!(announcement.on_request(), Flow::Continue));
    }
}
