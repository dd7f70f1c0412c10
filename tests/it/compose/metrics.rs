//! Every metric in the dashboards and alert rules is exported by a service.

use std::collections::BTreeSet;
use std::fs;

use quartet_devstack::workspace;
use serde_json::Value;
use tokio::task::block_in_place;

use super::engine::docker;
use super::project::Project;

const SCRAPED: [(&str, u16); 4] = [
    ("gateway", 9080),
    ("core", 8081),
    ("media", 8082),
    ("links", 8083),
];
/// Keywords of `PromQL`, and metrics of Prometheus itself.
const NOT_METRICS: [&str; 5] = ["and", "or", "unless", "up", "job"];

/// Checks that every metric of a query is exported by a running replica.
pub(super) fn check_queries(project: &Project) {
    let shown: BTreeSet<String> = SCRAPED
        .iter()
        .flat_map(|(service, port)| samples(&scrape(project, service, *port)))
        .collect();
    let mut count = 0;
    for (place, query) in queries() {
        for name in names(&query) {
            count += 1;
            assert!(
                shown.contains(&name),
                "{place}: `{name}` is not exported: {query}"
            );
        }
    }
    assert!(count > 60, "only {count} metrics were found in the queries");
    println!("dashboards and alerts: all of {count} metrics are exported");
}

/// From inside the network, like Prometheus: the ports are not published.
fn scrape(project: &Project, service: &str, port: u16) -> String {
    let script = format!(
        "exec 3<>/dev/tcp/{service}/{port}; \
         printf 'GET /metrics HTTP/1.1\\r\\nhost: {service}\\r\\nconnection: close\\r\\n\\r\\n' >&3; \
         cat <&3"
    );
    let network = format!("{}_services", project.name);
    block_in_place(|| {
        let postgres = project.containers("postgres").swap_remove(0);
        let image = docker(&["inspect", "--format", "{{.Config.Image}}", &postgres]);
        let run = ["run", "--rm", "--network", &network, "--entrypoint", "bash"];
        docker(&[&run[..], &[&image, "-c", &script]].concat())
    })
}

/// The sample names that an exposition declares, even without samples.
fn samples(exposition: &str) -> Vec<String> {
    let declared = exposition
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let endings = |kind: &str| match kind.trim() {
        "counter" => vec!["_total"],
        "histogram" => vec!["_bucket", "_sum", "_count"],
        _ => vec![""],
    };
    declared
        .flat_map(|(name, kind)| {
            endings(kind)
                .into_iter()
                .map(move |end| format!("{name}{end}"))
        })
        .collect()
}

/// The queries of all dashboards and rules, each with its location.
fn queries() -> Vec<(String, String)> {
    let root = workspace::root().join("compose/observability");
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("grafana/dashboards")).unwrap() {
        let path = entry.unwrap().path();
        let board: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        for panel in board["panels"].as_array().unwrap() {
            let targets = panel["targets"].as_array().unwrap().iter();
            let ours = targets.filter(|target| target["datasource"]["type"] == "prometheus");
            let place = format!("{}: {}", path.display(), panel["title"]);
            found.extend(ours.map(|it| (place.clone(), it["expr"].as_str().unwrap().to_owned())));
        }
    }
    let rules = fs::read_to_string(root.join("prometheus/rules.yml")).unwrap();
    for part in rules.split("expr:").skip(1) {
        let end = ["for:", "labels:", "- record:", "\n\n"]
            .iter()
            .filter_map(|word| part.find(word))
            .min()
            .unwrap_or(part.len());
        found.push(("rules.yml".to_owned(), part[..end].replace('|', " ")));
    }
    found
}

/// The metrics in a query, without recorded ones.
fn names(query: &str) -> Vec<String> {
    let plain = without(&without(query, '{', '}'), '[', ']').replace("by (", "by((");
    let plain = grouping_removed(&plain);
    let mut found = Vec::new();
    let mut rest = plain.as_str();
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        let tail = &rest[start..];
        let end = tail.find(|c: char| !part_of_name(c)).unwrap_or(tail.len());
        let (name, after) = tail.split_at(end);
        let calls = after.trim_start().starts_with('(');
        if !calls && !name.contains(':') && !NOT_METRICS.contains(&name) && name != "by" {
            found.push(name.to_owned());
        }
        rest = after;
    }
    found
}

/// `by((le, job)` becomes nothing.
fn grouping_removed(text: &str) -> String {
    let mut parts = text.split("by((");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once(')').map_or("", |(_, after)| after));
    }
    plain
}

/// The text without the parts between the two characters.
fn without(text: &str, open: char, close: char) -> String {
    let mut inside = false;
    text.chars()
        .filter(|&c| {
            if c == open {
                inside = true;
            }
            let keep = !inside;
            if c == close {
                inside = false;
            }
            keep
        })
        .collect()
}

#[test]
fn metric_names_are_extracted_from_queries() {
    let query =
        "histogram_quantile(0.95, sum by (le, job) (rate(a_bucket{x=\"y\"}[5m]))) > b or up == 0";
    assert_eq!(names(query), ["a_bucket", "b"]);
    assert_eq!(names("job:errors:ratio > 14.4 * 0.001"), [""; 0]);
}
