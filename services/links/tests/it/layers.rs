//! The rule of motion: which room may use which.

use std::{fs, path::Path};

/// What a room may name after `use crate::`.
const ALLOWED: [(&str, &[&str]); 9] = [
    (
        "api",
        &["api", "config", "domain", "error", "graphql", "state"],
    ),
    (
        "graphql",
        &["config", "domain", "error", "graphql", "state", "store"],
    ),
    (
        "domain",
        &["config", "domain", "error", "store", "wal", "MIGRATOR"],
    ),
    ("store", &["error", "store"]),
    (
        "jobs",
        &[
            "domain", "error", "jobs", "metrics", "state", "store", "wal",
        ],
    ),
    ("wal", &["wal"]),
    ("config.rs", &["wal"]),
    ("error.rs", &["wal"]),
    ("metrics.rs", &[]),
];

#[test]
fn every_room_uses_only_what_lies_below_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (room, allowed) in ALLOWED {
        let mut files = 0;
        each_file(&source.join(room), &mut |path, text| {
            files += 1;
            for used in rooms_used(text) {
                assert!(
                    allowed.contains(&used.as_str()),
                    "{} must not use {used}",
                    path.display()
                );
            }
        });
        assert!(files > 0, "{room} is there");
    }
}

#[test]
fn the_store_knows_no_http_and_the_doors_know_no_sql() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    each_file(&source.join("store"), &mut |path, text| {
        assert!(
            !text.contains("axum") && !text.contains("http::"),
            "{}",
            path.display()
        );
    });
    for room in ["api", "graphql", "domain"] {
        each_file(&source.join(room), &mut |path, text| {
            assert!(
                !text.contains("query!(") && !text.contains("sqlx::query"),
                "{}",
                path.display()
            );
        });
    }
}

fn each_file(path: &Path, look: &mut dyn FnMut(&Path, &str)) {
    if path.is_file() {
        return look(path, &fs::read_to_string(path).unwrap());
    }
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() || path.extension().is_some_and(|end| end == "rs") {
            each_file(&path, look);
        }
    }
}

/// The first names after `crate::`, also inside braces.
fn rooms_used(text: &str) -> Vec<String> {
    let mut used = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        if rest.starts_with('{') {
            used.extend(names_in_braces(rest));
        } else {
            used.push(
                rest.chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect(),
            );
        }
    }
    used
}

/// `{a, b::C, d::{E, F}}` names `a`, `b` and `d`.
fn names_in_braces(text: &str) -> Vec<String> {
    let mut depth = 0;
    let mut items = vec![String::new()];
    for letter in text.chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        match letter {
            _ if depth == 0 => break,
            ',' if depth == 1 => items.push(String::new()),
            _ => items.last_mut().unwrap().push(letter),
        }
    }
    let first = |item: String| {
        let start = item.trim_start_matches(['{', ' ', '\n']).to_owned();
        start
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    items
        .into_iter()
        .map(first)
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn the_reader_of_imports_reads_braces() {
    let text = "use crate::{\n    config::Config,\n    domain::{a::B, c},\n    error,\n};\nuse crate::wal;";
    assert_eq!(rooms_used(text), ["config", "domain", "error", "wal"]);
}
