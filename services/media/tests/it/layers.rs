//! The arrows of the architecture: api -> domain -> store, and never back.

use std::{fs, path::Path};

const FORBIDDEN: [(&str, &[&str]); 5] = [
    (
        "store",
        &["crate::api", "crate::domain", "crate::objects", "axum"],
    ),
    ("domain", &["crate::api", "axum", "sqlx::query"]),
    ("jobs", &["crate::api", "axum", "sqlx::query"]),
    ("api", &["sqlx", "aws_sdk_s3"]),
    (
        "objects.rs",
        &["crate::api", "crate::domain", "axum", "sqlx"],
    ),
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

fn sources(path: &Path) -> Vec<(String, String)> {
    if path.is_file() {
        return vec![(
            path.display().to_string(),
            fs::read_to_string(path).unwrap(),
        )];
    }
    let entries = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries.flat_map(|entry| sources(&entry)).collect()
}
