//! The metrics of requests as numbers, for pages that show them.
//!
//! The exposition format is the only way to read a histogram of the library, so it is written and read
//! again: nothing is added to what a request costs.

use std::{collections::BTreeMap, sync::OnceLock};

use prometheus_client::{encoding::text::encode, registry::Registry};

use crate::metrics::{DURATION_BUCKETS_SECONDS, Metrics};

/// Requests to one route since the start of the process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteTraffic {
    /// Completed requests, also those of WebSocket.
    pub requests: u64,
    /// Of these, those with a status from 400 to 499.
    pub client_errors: u64,
    /// Of these, those with a status of 500 or above.
    pub server_errors: u64,
    /// Number of requests by duration: up to each of [`DURATION_BUCKETS_SECONDS`] and longer than the one
    /// before; the last one is longer than all.
    pub durations: [u64; DURATION_BUCKETS_SECONDS.len() + 1],
    /// Of all durations together.
    pub duration_seconds: f64,
}

/// Names in a registry of its own, which nothing else sees.
const REQUESTS: &str = "requests";
const DURATION: &str = "duration";

impl Metrics {
    /// By route, as in the label `http_route`.
    pub fn traffic(&self) -> BTreeMap<String, RouteTraffic> {
        let mut registry = Registry::default();
        registry.register(REQUESTS, "", self.requests.clone());
        registry.register(DURATION, "", self.duration.clone());
        let mut text = String::new();
        encode(&mut text, &registry).expect("writing to a string cannot fail");
        read(&text)
    }

    /// Requests in flight.
    pub fn active(&self) -> i64 {
        let gauges = self.active_by_method.iter().filter_map(OnceLock::get);
        gauges
            .map(prometheus_client::metrics::gauge::Gauge::get)
            .sum()
    }
}

fn read(text: &str) -> BTreeMap<String, RouteTraffic> {
    let mut routes: BTreeMap<String, RouteTraffic> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, labels, value)) = split(line) else {
            continue;
        };
        let labels = read_labels(labels);
        let (Some(route), Some(status)) = (
            labels.get("http_route"),
            labels.get("http_response_status_code"),
        ) else {
            continue;
        };
        let route = routes.entry(route.clone()).or_default();
        let count = || value.parse::<u64>().unwrap_or(0);
        match name {
            "requests_total" => {
                route.requests += count();
                match status.parse::<u16>() {
                    Ok(400..=499) => route.client_errors += count(),
                    Ok(500..) => route.server_errors += count(),
                    _ => {}
                }
            }
            "duration_sum" => route.duration_seconds += value.parse::<f64>().unwrap_or(0.0),
            "duration_bucket" => {
                let bound = labels.get("le").and_then(|bound| bound.parse::<f64>().ok());
                let place = bound.and_then(|bound| {
                    let mut bounds = DURATION_BUCKETS_SECONDS.iter();
                    bounds.position(|known| (known - bound).abs() < f64::EPSILON)
                });
                // In the format, each bucket has those before it as well.
                route.durations[place.unwrap_or(DURATION_BUCKETS_SECONDS.len())] += count();
            }
            _ => {}
        }
    }
    for route in routes.values_mut() {
        for place in (1..route.durations.len()).rev() {
            route.durations[place] -= route.durations[place - 1].min(route.durations[place]);
        }
    }
    routes
}

/// `name{labels} value`.
fn split(line: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, value) = rest.rsplit_once("} ")?;
    Some((name, labels, value.split(' ').next()?))
}

/// `name="value",...`; in a value, `\`, `"` and line feeds are escaped.
fn read_labels(text: &str) -> BTreeMap<&str, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while let Some((name, quoted)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let mut end = quoted.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, other)) => value.push(other),
                    None => {}
                },
                other => value.push(other),
            }
        }
        labels.insert(name.trim_start_matches(','), value);
        rest = &quoted[end..];
    }
    labels
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;

    use super::*;

    #[test]
    fn requests_are_counted_by_route_status_and_duration() {
        let metrics = Metrics::new("test");
        let odd = "/a\"} 7,b=\"\\\n";
        for (route, status, ms) in [
            ("/x", 200, 3),
            ("/x", 200, 30),
            ("/x", 404, 30),
            ("/x", 503, 20_000),
            (odd, 200, 1),
        ] {
            let took = Duration::from_millis(ms);
            metrics.request_finished(&Method::GET, route.into(), status, took);
        }
        metrics.request_counted(&Method::GET, "/x".into(), 101);
        let _active = metrics.request_started(&Method::GET);
        assert_eq!(metrics.active(), 1);
        let traffic = metrics.traffic();
        let x = &traffic["/x"];
        assert_eq!((x.requests, x.client_errors, x.server_errors), (5, 1, 1));
        let mut durations = [0; 15];
        (durations[0], durations[3], durations[14]) = (1, 2, 1);
        assert_eq!(x.durations, durations);
        assert!((x.duration_seconds - 20.063).abs() < 1e-9);
        assert_eq!((traffic[odd].requests, traffic.len()), (1, 2));
    }
}
