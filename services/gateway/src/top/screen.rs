//! The report as lines of text.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::{
    rates::{Rates, per_second},
    table::{Cell, Table, cut, painted, plain},
};
use crate::{
    reloads::Outcome,
    status::{RouteStatus, Status, UpstreamStatus},
};

const BOLD: u8 = 1;
const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;
const DAY_SECONDS: i64 = 86_400;
/// Then certificates are red, and before yellow; those that are valid for a short time later than that.
const FEW_DAYS: i64 = 7;
const SOON_DAYS: i64 = 30;
const MIB: u64 = 1024 * 1024;

/// Two reports, and what happens between them.
pub(super) struct View<'s> {
    pub(super) now: &'s Status,
    pub(super) then: &'s Status,
    /// Why there is no later report.
    pub(super) error: Option<&'s str>,
}

impl View<'_> {
    /// Within this number of characters, `None`: as wide as it is.
    pub(super) fn lines(&self, width: Option<usize>, color: bool) -> Vec<String> {
        let rates = Rates::of_paths(self.now, self.then);
        let mut lines = self.head(&Rates::sum(&rates), width, color);
        let tables = [
            self.traffic(&rates),
            self.upstreams(),
            self.limits(),
            self.caches(),
            self.certificates(),
        ];
        for table in tables.into_iter().flatten() {
            lines.push(String::new());
            lines.extend(table.lines(width, color));
        }
        if self.now.omitted > 0 {
            lines.push(format!("{} entries are not shown", self.now.omitted));
        }
        lines
    }

    fn head(&self, sum: &Rates, width: Option<usize>, color: bool) -> Vec<String> {
        let now = self.now;
        let config = &now.config;
        let mut lines = vec![
            (
                format!(
                    "quartet-gateway {} on {}: {}, up {}, configuration {}",
                    now.version,
                    now.host,
                    now.state,
                    span(now.uptime_ms / 1_000),
                    config.hash
                ),
                Some(if now.state == "ready" { BOLD } else { RED }),
            ),
            (
                format!(
                    "requests {}/s  5xx {}/s  4xx {}/s  p50 {}  p95 {}  p99 {}  in flight {}  connections {} of {}",
                    rate(sum.requests),
                    rate(sum.server_errors),
                    rate(sum.client_errors),
                    duration(sum.percentile(0.5)),
                    duration(sum.percentile(0.95)),
                    duration(sum.percentile(0.99)),
                    now.requests_in_flight,
                    now.connections.open,
                    now.connections.max
                ),
                None,
            ),
        ];
        let failed = now.checks.iter().filter(|(_, text)| *text != "ok");
        lines.extend(failed.map(|(name, text)| (format!("{name}: {text}"), Some(RED))));
        let notices = now.notices.iter();
        let notices = notices.flat_map(|(name, texts)| texts.iter().map(move |text| (name, text)));
        lines.extend(notices.map(|(name, text)| (format!("{name}: {text}"), Some(YELLOW))));
        if let Some(reload) = &config.last_reload
            && let Outcome::Refused { errors } = &reload.outcome
        {
            let errors = errors.iter().map(|error| error.message.clone());
            let refused = format!(
                "the reload at {} was refused",
                reload.at.format("%F %T UTC")
            );
            lines.extend(
                std::iter::once(refused)
                    .chain(errors)
                    .map(|text| (text, Some(RED))),
            );
        }
        if !config.waiting_for_restart.is_empty() {
            let keys = config.waiting_for_restart.join(", ");
            lines.push((format!("after a restart: {keys}"), Some(YELLOW)));
        }
        lines.extend(
            self.error
                .map(|error| (format!("{error}; the values are old"), Some(RED))),
        );
        let shown = lines.into_iter().map(|(text, attribute)| {
            let text = plain(&text);
            let text = width.map_or(text.clone(), |width| cut(&text, width));
            painted(&text, attribute.filter(|_| color))
        });
        shown.collect()
    }

    /// The busiest paths first.
    fn traffic(&self, rates: &[Rates]) -> Option<Table> {
        let mut table = Table::new(&[
            "PATH", "ROUTE", "LEADS TO", "REQ/S", "5XX/S", "4XX/S", "P50", "P95", "P99",
            "REQUESTS", "5XX", "4XX",
        ]);
        let routes = self.now.routes.iter();
        let routes: BTreeMap<&str, &RouteStatus> =
            routes.map(|route| (&*route.name, route)).collect();
        let mut paths: Vec<_> = self.now.traffic.iter().zip(rates).collect();
        paths.sort_by(|(_, one), (_, other)| {
            let [one, other] = [one, other].map(|rates| rates.requests.unwrap_or(0.0));
            other.total_cmp(&one)
        });
        for (path, rates) in &paths {
            let known = path.routes.iter().filter_map(|name| routes.get(&**name));
            let names = path.routes.iter().map(|name| &**name);
            let mut destinations: Vec<&str> = known.map(|route| &*route.destination).collect();
            destinations.dedup();
            let is_failing = rates.server_errors.is_some_and(|errors| errors > 0.0);
            table.row(vec![
                Cell::text(&path.path),
                Cell::text(or_dash(names.collect::<Vec<_>>().join(", "))),
                Cell::text(or_dash(destinations.join(", "))),
                Cell::number(rate(rates.requests)),
                Cell::number(rate(rates.server_errors)).colored(is_failing.then_some(RED)),
                Cell::number(rate(rates.client_errors)),
                Cell::number(duration(rates.percentile(0.5))),
                Cell::number(duration(rates.percentile(0.95))),
                Cell::number(duration(rates.percentile(0.99))),
                Cell::number(path.requests.to_string()),
                Cell::number(path.server_errors.to_string()),
                Cell::number(path.client_errors.to_string()),
            ]);
        }
        (!paths.is_empty()).then_some(table)
    }

    fn upstreams(&self) -> Option<Table> {
        let mut table = Table::new(&[
            "UPSTREAM",
            "REPLICA",
            "HEALTH",
            "IN FLIGHT",
            "WAITING",
            "CIRCUIT",
            "RETRIES",
            "NOT REACHED",
            "BROKEN",
            "ERROR",
        ]);
        for upstream in &self.now.upstreams {
            let shared = |is_first: bool| upstream_cells(upstream, is_first);
            if upstream.replicas.is_empty() {
                let mut row = vec![
                    Cell::text(&upstream.name),
                    Cell::text("no address").colored(Some(RED)),
                    Cell::text("-"),
                    Cell::number("-"),
                ];
                row.extend(shared(true));
                row.push(Cell::text(upstream.lookup_errors.join("; ")));
                table.row(row);
            }
            for (at, replica) in upstream.replicas.iter().enumerate() {
                let lookups = upstream.lookup_errors.iter().filter(|_| at == 0);
                let errors: Vec<&str> = replica
                    .check_error
                    .iter()
                    .chain(lookups)
                    .map(|it| &**it)
                    .collect();
                let color = match &*replica.state {
                    "healthy" => GREEN,
                    "ejected" | "down" => RED,
                    _ => YELLOW,
                };
                let mut row = vec![
                    Cell::text(&upstream.name),
                    Cell::text(replica.address.to_string()),
                    Cell::text(&replica.state).colored(Some(color)),
                    Cell::number(replica.in_flight.to_string()),
                ];
                row.extend(shared(at == 0));
                row.push(Cell::text(errors.join("; ")));
                table.row(row);
            }
        }
        (!self.now.upstreams.is_empty()).then_some(table)
    }

    fn limits(&self) -> Option<Table> {
        let mut table = Table::new(&["LIMIT", "REQUESTS", "REFUSED/S", "REFUSED"]);
        for limit in &self.now.limits {
            let mut before = self.then.limits.iter();
            let before = before.find(|before| before.name == limit.name);
            let refused = limit
                .refused
                .saturating_sub(before.map_or(0, |before| before.refused));
            table.row(vec![
                Cell::text(&limit.name),
                Cell::text(format!(
                    "{} in {}",
                    limit.requests,
                    span(limit.window_seconds)
                )),
                Cell::number(rate(per_second(refused, self.now, self.then))),
                Cell::number(limit.refused.to_string()),
            ]);
        }
        if let Some(store) = &self.now.limit_store {
            let state = match store.is_up {
                None => "connecting".to_owned(),
                Some(true) => "available".to_owned(),
                Some(false) => format!("unavailable: {}", store.error.as_deref().unwrap_or("")),
            };
            table.row(vec![
                Cell::text(format!("store ({})", store.kind)),
                Cell::text(state).colored((store.is_up == Some(false)).then_some(RED)),
                Cell::number(""),
                Cell::number(""),
            ]);
        }
        (!self.now.limits.is_empty()).then_some(table)
    }

    fn caches(&self) -> Option<Table> {
        let mut table = Table::new(&["CACHE", "HITS", "REQ/S", "URLS", "MIB", "OF", "OUTCOMES"]);
        for cache in &self.now.caches {
            let all: u64 = cache.requests.values().sum();
            let mut before = self.then.caches.iter();
            let before = before.find(|before| before.name == cache.name);
            let before = before.map_or(0, |before| before.requests.values().sum());
            let hits = ["hit", "stale", "revalidated"].map(|name| cache.requests.get(name));
            let hits: u64 = hits.into_iter().flatten().sum();
            let share = (hits * 100).checked_div(all);
            let outcomes = cache.requests.iter().filter(|(_, count)| **count > 0);
            let outcomes = outcomes.map(|(name, count)| format!("{name} {count}"));
            table.row(vec![
                Cell::text(&cache.name),
                Cell::number(share.map_or("-".to_owned(), |share| format!("{share} %"))),
                Cell::number(rate(per_second(
                    all.saturating_sub(before),
                    self.now,
                    self.then,
                ))),
                Cell::number(cache.urls.to_string()),
                Cell::number((cache.bytes / MIB).to_string()),
                Cell::number((cache.max_bytes / MIB).to_string()),
                Cell::text(outcomes.collect::<Vec<_>>().join(", ")),
            ]);
        }
        (!self.now.caches.is_empty()).then_some(table)
    }

    fn certificates(&self) -> Option<Table> {
        let mut table = Table::new(&[
            "CERTIFICATE",
            "SUBJECT",
            "VALID UNTIL",
            "DAYS LEFT",
            "PROBLEM",
        ]);
        for certificate in &self.now.certificates {
            let left = certificate.not_after - self.now.at;
            let days = left.num_seconds().div_euclid(DAY_SECONDS);
            let life = certificate.not_after - certificate.not_before;
            let color = match left {
                _ if certificate.problem.is_some() => Some(RED),
                left if left < TimeDelta::days(FEW_DAYS).min(life * 3 / 20) => Some(RED),
                left if left < TimeDelta::days(SOON_DAYS).min(life * 3 / 10) => Some(YELLOW),
                _ => None,
            };
            let problem = certificate.problem.as_deref().unwrap_or_default();
            table.row(vec![
                Cell::text(&certificate.of),
                Cell::text(&certificate.subject),
                Cell::text(certificate.not_after.format("%F").to_string()),
                Cell::number(days.to_string()).colored(color),
                Cell::text(problem),
            ]);
        }
        (!self.now.certificates.is_empty()).then_some(table)
    }
}

/// What the replicas of an upstream share stands in the row of the first one.
fn upstream_cells(upstream: &UpstreamStatus, is_first: bool) -> [Cell; 5] {
    let number = |count: u64| {
        Cell::number(if is_first {
            count.to_string()
        } else {
            String::new()
        })
    };
    let queued = upstream
        .queued
        .map_or("-".to_owned(), |queued| queued.to_string());
    let circuit = upstream.circuit.as_deref().unwrap_or("-");
    let is_open = !["-", "closed"].contains(&circuit);
    [
        Cell::number(if is_first { &*queued } else { "" }),
        Cell::text(if is_first { circuit } else { "" }).colored(is_open.then_some(RED)),
        number(upstream.retries),
        number(upstream.connect_failures),
        number(upstream.broken_responses),
    ]
}

fn or_dash(text: String) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

fn rate(per_second: Option<f64>) -> String {
    match per_second {
        None => "-".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(rate) if rate < 10.0 => format!("{rate:.1}"),
        Some(rate) => format!("{rate:.0}"),
    }
}

fn duration(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds.is_infinite() => "> 10 s".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{:.1} ms", seconds * 1_000.0),
        Some(seconds) => format!("{seconds:.2} s"),
    }
}

fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) if seconds.is_multiple_of(60) => format!("{minutes} min"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, 0) => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}
