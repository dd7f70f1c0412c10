//! When a route was deprecated, and when it ends.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use http::HeaderValue;
use url::Url;

use super::checker::Checker;
use crate::{
    config::model,
    routing::{AfterSunset, Lifecycle},
};

/// The outer `None`: a violation was found.
pub(super) fn check(
    key: &str,
    route: &model::Route,
    checker: &mut Checker,
) -> Option<Option<Lifecycle>> {
    let mut date = |name: &str, text: &Option<String>| {
        let parsed = text.as_deref().map(parse_date).transpose();
        checker.ok(&format!("{key}.{name}"), parsed)
    };
    let deprecated_on = date("deprecated_on", &route.deprecated_on);
    let sunset_on = date("sunset_on", &route.sunset_on);
    let links = route.deprecation_link.as_deref();
    let links = links.map(|link| parse_links(link, route)).transpose();
    let links = checker.ok(&format!("{key}.deprecation_link"), links);
    let (deprecated_on, sunset_on) = (deprecated_on?, sunset_on?);
    if deprecated_on > sunset_on && sunset_on.is_some() {
        checker.error(
            format!("{key}.sunset_on"),
            "must not be before `deprecated_on`",
        );
    }
    if deprecated_on.is_none() && sunset_on.is_none() {
        if route.deprecation_link.is_some() {
            let message = "needs `deprecated_on` or `sunset_on`";
            checker.error(format!("{key}.deprecation_link"), message);
        }
        if route.after_sunset != AfterSunset::Serve {
            checker.error(format!("{key}.after_sunset"), "needs `sunset_on`");
        }
        return Some(None);
    }
    if sunset_on.is_none() && route.after_sunset != AfterSunset::Serve {
        checker.error(format!("{key}.after_sunset"), "needs `sunset_on`");
    }
    Some(Some(Lifecycle {
        deprecated_on,
        sunset_on,
        links: links?.unwrap_or_default(),
        after_sunset: route.after_sunset,
    }))
}

/// Midnight UTC, when that day begins.
fn parse_date(text: &str) -> Result<DateTime<Utc>, String> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d");
    let date = date.map_err(|_| "must be a date such as 2026-12-31".to_owned())?;
    Ok(date.and_time(NaiveTime::MIN).and_utc())
}

/// A `Link` for each date that there is (RFC 9745, 3; RFC 8594, 6).
fn parse_links(text: &str, route: &model::Route) -> Result<Vec<HeaderValue>, String> {
    let invalid = || "must be a URL that starts with https:// or http://".to_owned();
    let url = Url::parse(text).map_err(|_| invalid())?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(invalid());
    }
    let relations = [
        ("deprecation", route.deprecated_on.is_some()),
        ("sunset", route.sunset_on.is_some()),
    ];
    let link = |relation| HeaderValue::try_from(format!("<{url}>; rel=\"{relation}\""));
    let links = relations.into_iter().filter(|(_, has_date)| *has_date);
    links
        .map(|(relation, _)| link(relation).map_err(|_| invalid()))
        .collect()
}
