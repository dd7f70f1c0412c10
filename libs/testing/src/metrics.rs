//! Metrics as scraped, compared with docs/metrics.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// A metric on the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub kind: String,
    pub labels: BTreeSet<String>,
    pub unit: String,
    pub meaning: String,
    pub alerts: Vec<String>,
}

/// The metrics of docs/metrics.md by their exposed names.
///
/// # Panics
/// When the page cannot be read, or names a metric twice.
pub fn documented() -> BTreeMap<String, Row> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(page).expect("the page of the workspace");
    let mut rows = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, unit, meaning, alerts, _] = cells[..] else {
            panic!("six columns: {line}");
        };
        let row = Row {
            kind: kind.to_owned(),
            labels: list(labels).collect(),
            unit: unit.to_owned(),
            meaning: meaning.to_owned(),
            alerts: list(alerts).collect(),
        };
        let other = rows.insert(name.trim_matches('`').to_owned(), row);
        assert!(other.is_none(), "{name} is there twice");
    }
    rows
}

fn list(cell: &str) -> impl Iterator<Item = String> {
    let names = cell.split(',').map(|name| name.trim().trim_matches('`'));
    names.filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Compares what a process exposes at `/metrics` with the page: names, types and labels.
///
/// # Panics
/// When a sample is not as the page says, or there is none.
pub fn assert_documented(scraped: &str) {
    let rows = documented();
    let mut kinds = BTreeMap::new();
    let mut samples = 0;
    for line in scraped.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            let (name, kind) = described.split_once(' ').expect("name and type");
            kinds.insert(name, kind);
        } else if !line.starts_with('#') {
            let (name, rest) = line.split_once('{').expect("every sample has labels");
            let labels = rest.rsplit_once('}').expect("labels end").0;
            let (family, kind) = family_of(name, &kinds);
            let exposed = if kind == "counter" { name } else { family };
            let row = rows.get(exposed);
            let row = row.unwrap_or_else(|| panic!("{exposed} is not in docs/metrics.md"));
            assert_eq!(row.kind, kind, "{exposed}");
            assert_eq!(row.labels, names_of(labels), "{exposed}");
            samples += 1;
        }
    }
    assert!(samples > 0, "{scraped}");
}

/// The family of a sample, and its type.
fn family_of<'t>(sample: &'t str, kinds: &BTreeMap<&'t str, &'t str>) -> (&'t str, &'t str) {
    let suffixes = ["", "_total", "_bucket", "_sum", "_count"];
    let mut families = suffixes.iter().filter_map(|suffix| {
        let family = sample.strip_suffix(suffix)?;
        kinds.get(family).map(|kind| (family, *kind))
    });
    families
        .next()
        .unwrap_or_else(|| panic!("{sample} has no type"))
}

/// Names of labels, without those that every metric or every histogram has.
fn names_of(labels: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    // `a="x",b="y"`: names stand before values, which the split takes away.
    for (place, part) in labels.split('"').enumerate() {
        let name = part.trim_matches([',', '=']);
        if place % 2 == 0 && !["", "service", "le"].contains(&name) {
            names.insert(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP tasks_runs Runs.\n# TYPE tasks_runs counter\n\
        tasks_runs_total{service=\"core\",task=\"purge\",outcome=\"done\"} 1\n\
        # TYPE job_duration_seconds histogram\n\
        job_duration_seconds_bucket{le=\"0.5\",service=\"core\",job_name=\"a, b\"} 1\n# EOF\n";

    #[test]
    fn samples_that_the_page_has_are_accepted() {
        assert_documented(TEXT);
    }

    #[test]
    fn another_name_type_or_label_is_refused() {
        for (from, to) in [
            ("tasks_runs", "tasks_walks"),
            ("tasks_runs counter", "tasks_runs gauge"),
            ("outcome=", "result="),
            (",job_name=\"a, b\"", ""),
        ] {
            let text = TEXT.replace(from, to);
            let refused = std::panic::catch_unwind(|| assert_documented(&text));
            assert!(refused.is_err(), "{text}");
        }
    }
}
