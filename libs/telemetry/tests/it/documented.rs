//! docs/logging.md names every field that the code can write.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use crate::source::{arguments, root, sources};

/// The line itself has these; an event that had one too would make a key appear twice.
const RESERVED: [&str; 5] = ["timestamp", "level", "msg", "service", "target"];
/// The first column of every table row: `` | `name` | ``.
fn documented() -> BTreeSet<String> {
    let page = fs::read_to_string(root().join("docs/logging.md")).unwrap();
    page.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The name of the field that an argument of an event sets, if it sets one.
fn field(argument: &str) -> Option<&str> {
    let argument = argument.trim();
    let is_other = argument.is_empty()
        || argument.starts_with('"')
        || argument.starts_with("target:")
        || argument.starts_with("//");
    let name = argument.split('=').next()?.trim();
    (!is_other).then(|| name.trim_start_matches(['%', '?']))
}

#[test]
fn fields_are_read_from_source() {
    let text =
        r#"target: "quartet", %error, took = f(a, "b)"), http.route = x == y, "text, {}", z)"#;
    let fields: Vec<_> = arguments(text)
        .iter()
        .filter_map(|a| field(a).map(str::to_owned))
        .collect();
    assert_eq!(fields, ["error", "took", "http.route", "z"]);
}

#[test]
fn every_field_of_an_event_is_documented() {
    let documented = documented();
    let mut wrong = BTreeMap::new();
    let mut events = 0;
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        for level in ["error", "warn", "info", "debug", "trace"] {
            let call = format!("tracing::{level}!(");
            for (at, _) in text.match_indices(&call) {
                events += 1;
                for argument in arguments(&text[at + call.len()..]) {
                    let Some(name) = field(&argument) else {
                        continue;
                    };
                    if !documented.contains(name) || RESERVED.contains(&name) {
                        wrong.insert(name.to_owned(), file.clone());
                    }
                }
            }
        }
    }
    assert!(events > 20, "{events} events found");
    assert!(
        wrong.is_empty(),
        "not in docs/logging.md, or reserved: {wrong:#?}"
    );
}

#[test]
fn every_field_of_the_access_log_is_documented() {
    let documented = documented();
    let code = ["line.rs", "access.rs", "events.rs", "panics.rs", "queue.rs"];
    let mut names = BTreeSet::new();
    for file in code {
        let path = root().join("libs/telemetry/src/log").join(file);
        let text = fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        for call in [
            "text",
            "optional_text",
            "format",
            "integer",
            "float",
            "milliseconds",
            "hex",
        ] {
            for (at, _) in text.match_indices(&format!(".{call}(\"")) {
                let name = text[at..].split('"').nth(1).unwrap();
                if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                    names.insert(name.to_owned());
                }
            }
        }
    }
    assert!(names.len() > 20, "{names:?}");
    let missing: Vec<_> = names.difference(&documented).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
