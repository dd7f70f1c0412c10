//! docs/metrics.md names every metric that the code registers, and no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use quartet_testing::metrics::{Row, documented};

use crate::source::{arguments, root, sources};

/// Calls that register a metric, and the type of those that have only one.
const CALLS: [(&str, Option<&str>); 3] = [
    (".register(", None),
    (".counter(", Some("counter")),
    (".gauge(", Some("gauge")),
];

/// What the code registers: name, type if the call shows it, description.
fn registered() -> Vec<(String, Option<&'static str>, String)> {
    let mut found = Vec::new();
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        for (call, kind) in CALLS {
            for (at, _) in text.match_indices(call) {
                let arguments = arguments(&text[at + call.len()..]);
                let quoted = |argument: Option<&String>| {
                    let text = argument?.trim();
                    text.strip_prefix('"')?.strip_suffix('"').map(str::to_owned)
                };
                let (name, help) = (quoted(arguments.first()), quoted(arguments.get(1)));
                found.extend(name.zip(help).map(|(name, help)| (name, kind, help)));
            }
        }
    }
    found
}

/// Words of an expression, among them the names of metrics.
fn words(expression: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expression.split(|c| !is_name(c));
    words.map(str::to_owned).collect()
}

/// The alerts of each word in the rules, through the rules that record it under another name.
fn alerts() -> BTreeMap<String, Vec<String>> {
    let rules = root().join("compose/observability/prometheus/rules.yml");
    let rules = fs::read_to_string(rules).unwrap();
    let (mut records, mut alerts) = (BTreeMap::new(), BTreeMap::<String, Vec<String>>::new());
    for rule in rules.split("\n      - ").skip(1) {
        let (head, rest) = rule.split_once('\n').unwrap();
        let (kind, name) = head.split_once(": ").unwrap();
        let ends = ["\n        for:", "\n        labels:"];
        let end = ends.iter().filter_map(|end| rest.find(end)).min();
        let used = words(&rest[..end.unwrap_or(rest.len())]);
        if kind == "record" {
            records.insert(name.to_owned(), used);
            continue;
        }
        let through = used.iter().filter_map(|word| records.get(word)).flatten();
        for word in through.chain(&used).collect::<BTreeSet<_>>() {
            alerts
                .entry(word.clone())
                .or_default()
                .push(name.to_owned());
        }
    }
    assert!(alerts.len() > 20, "{alerts:?}");
    alerts
}

#[test]
fn the_page_has_every_metric_that_the_code_registers_and_no_other() {
    let rows = documented();
    let mut left: BTreeSet<&String> = rows.keys().collect();
    let mut wrong = Vec::new();
    let registered = registered();
    assert!(registered.len() > 50, "{}", registered.len());
    for (name, kind, help) in registered {
        let shown = [name.clone(), format!("{name}_total")];
        let Some((shown, row)) = shown.iter().find_map(|name| rows.get_key_value(name)) else {
            wrong.push(format!("{name} is missing"));
            continue;
        };
        left.remove(shown);
        if kind.is_some_and(|kind| kind != row.kind) {
            wrong.push(format!("{shown} is a {}", kind.unwrap()));
        }
        if (row.kind == "counter") != shown.ends_with("_total") {
            wrong.push(format!("{shown}: counters, and only these, end in _total"));
        }
        if !row.meaning.starts_with(&help) {
            wrong.push(format!("{shown}: the meaning must begin with `{help}`"));
        }
    }
    wrong.extend(left.iter().map(|name| format!("{name} is not registered")));
    assert!(wrong.is_empty(), "docs/metrics.md: {wrong:#?}");
}

#[test]
fn units_are_those_in_the_names() {
    for (name, row) in documented() {
        let base = name.strip_suffix("_total").unwrap_or(&name);
        let unit = match base.rsplit('_').next().unwrap() {
            "seconds"
                if [
                    "_timestamp_seconds",
                    "_start_time_seconds",
                    "_not_before_seconds",
                    "_not_after_seconds",
                ]
                .iter()
                .any(|end| base.ends_with(end)) =>
            {
                "seconds since 1970"
            }
            unit @ ("seconds" | "milliseconds" | "bytes") => unit,
            _ => "",
        };
        assert_eq!(row.unit, unit, "{name}");
    }
}

#[test]
fn alerts_are_those_that_use_the_metric() {
    let alerts = alerts();
    for (name, Row { alerts: named, .. }) in documented() {
        let using = alerts.get(&name).cloned().unwrap_or_default();
        assert_eq!(named, using, "{name}");
    }
}
