//! The rooms keep to the map: who may know whom.

use std::path::{Path, PathBuf};

fn sources(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory)
        .unwrap()
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn rooms_know_only_what_the_map_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // Room, and what its code must not contain.
    let forbidden: [(&str, &[&str]); 5] = [
        ("", &["pingora::", "use pingora"]),
        (
            "routing",
            &[
                "crate::policy",
                "crate::upstream",
                "crate::state",
                "crate::edge",
            ],
        ),
        (
            "upstream",
            &[
                "crate::policy",
                "crate::routing",
                "crate::state",
                "crate::edge",
            ],
        ),
        (
            "policy",
            &["crate::upstream", "crate::state", "crate::edge", "axum"],
        ),
        (
            "config",
            &[
                "crate::policy",
                "crate::upstream",
                "crate::state",
                "crate::edge",
            ],
        ),
    ];
    let mut found = Vec::new();
    for path in sources(&root) {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        if name.starts_with("edge") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code: Vec<&str> = code.collect();
        for (room, words) in forbidden {
            let inside = name.starts_with(&format!("{room}/")) || name == format!("{room}.rs");
            for word in words.iter().filter(|_| room.is_empty() || inside) {
                if code.iter().any(|line| line.contains(word)) {
                    found.push(format!("{name}: {word}"));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:?}");
}
