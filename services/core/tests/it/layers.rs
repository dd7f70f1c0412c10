//! The arrows of the architecture: api -> domain -> store, and never back.

use std::{fs, path::Path};

const FORBIDDEN: [(&str, &[&str]); 4] = [
    ("store", &["crate::api", "crate::domain", "axum"]),
    ("domain", &["crate::api", "axum", "sqlx::query"]),
    ("jobs", &["crate::api", "axum", "sqlx::query"]),
    ("api", &["sqlx"]),
];

#[test]
fn modules_follow_the_layering() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (room, words) in FORBIDDEN {
        for (file, text) in sources(&src.join(room)) {
            for word in words {
                assert!(!text.contains(word), "{file} mentions `{word}`");
            }
        }
    }
}

fn sources(room: &Path) -> Vec<(String, String)> {
    let files: Vec<_> = fs::read_dir(room)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.display().to_string(),
                fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    assert!(!files.is_empty());
    files
}
