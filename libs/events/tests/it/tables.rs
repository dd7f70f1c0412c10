//! The tables of this crate are copied into the migrations of the services: the copies must not differ.

use std::{fs, path::Path};

/// The statements of a text, without comments, the name of the schema and line breaks.
fn statements(sql: &str, schema: &str) -> Vec<String> {
    let lines = sql
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default());
    let text: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let text = text.join(" ").replace(&format!("{schema}."), "");
    let statements = text.split(';').map(|statement| statement.trim().to_owned());
    statements.filter(|text| !text.is_empty()).collect()
}

#[test]
fn migrations_have_the_tables_of_this_crate() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let outbox = include_str!("../../outbox.sql");
    let inbox = include_str!("../../inbox.sql");
    let erasures = include_str!("../../erasures.sql");
    for (schema, tables) in [
        ("core", &[outbox][..]),
        ("media", &[inbox, erasures]),
        ("links", &[inbox, erasures]),
    ] {
        let directory = here.join("../../db/schemas").join(schema);
        let migrations: String = fs::read_dir(directory)
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap() + "\n")
            .collect();
        let copied = statements(&migrations, schema);
        for statement in tables.iter().flat_map(|table| statements(table, schema)) {
            assert!(copied.contains(&statement), "{schema} lacks: {statement}");
        }
    }
}
