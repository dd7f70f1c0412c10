//! Checks that the imports of a crate point downward, by a table of its rooms.
//!
//! ```no_run
//! quartet_testing::arrows::check(env!("CARGO_MANIFEST_DIR"), &[
//!     // room      may use             must not name
//!     ["lib",      "*",                ""],
//!     ["api",      "domain state",     "sqlx"],
//!     ["state",    "domain",           ""],
//!     ["domain",   "store",            "axum http"],
//!     ["store",    "",                 "axum"],
//! ]);
//! ```
//!
//! A room is a module with everything below it that has no row of its own: with rows for `graphql`
//! and `graphql::guard`, the second is another room. Rows stand from the top to the bottom, so an
//! allowed arrow that points upward is a mistake in the table itself, and no circle of rooms can be
//! allowed. `*` stands for all rooms below. Beside that, no two modules of a crate may import each
//! other, directly or through others, in whatever room they are.
//!
//! Sources are read as text: every `use` tree and every path in the code, inside macros too,
//! but not in `#[cfg(test)]`. A `pub use` of a module's own child is a facade and no arrow; a path
//! through a facade leads to the module behind it.

mod circles;
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use source::{Module, Source};

/// Calls that send a statement to the database.
const EXECUTIONS: [&str; 6] = [
    "execute",
    "fetch",
    "fetch_all",
    "fetch_many",
    "fetch_one",
    "fetch_optional",
];
/// The crate root.
const ROOT: &str = "lib";
const ALL_BELOW: &str = "*";

/// Checks the crate at `manifest_dir` against the table. Each row has the name of a room, the rooms
/// that it may use, and what its code must not name: identifiers, or beginnings of paths such as
/// `sqlx::query`.
///
/// # Panics
/// With every violation; when a module has no row, or the table allows an upward arrow.
pub fn check(manifest_dir: &str, table: &[[&str; 3]]) {
    let violations = violations(Path::new(manifest_dir), table);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// Checks that the modules below `room` run every statement through `statement(...)`.
///
/// # Panics
/// With every call that does not.
pub fn check_statements(manifest_dir: &str, room: &str) {
    let unnamed = unnamed_statements(Path::new(manifest_dir), room);
    assert!(unnamed.is_empty(), "{}", unnamed.join("\n"));
}

fn violations(manifest_dir: &Path, table: &[[&str; 3]]) -> Vec<String> {
    let sources = read(manifest_dir);
    let rooms: Vec<&str> = table.iter().map(|[room, ..]| *room).collect();
    let mut found = upward_rows(table, &rooms);
    let mut arrows: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (module, source) in &sources {
        let Some(row) = row_of(module, &rooms) else {
            found.push(format!("{}: no row in the table", name(module)));
            continue;
        };
        let [room, may_use, forbidden] = table[row];
        for word in forbidden.split_whitespace() {
            if source.names(word) {
                found.push(format!("{}: {room} must not name `{word}`", name(module)));
            }
        }
        let targets = source.targets(module, &sources);
        for target in &targets {
            let allowed = row_of(target, &rooms).is_none_or(|other| {
                let listed = may_use.split_whitespace().any(|used| used == rooms[other]);
                other == row || listed || (may_use == ALL_BELOW && other > row)
            });
            if !allowed {
                let (from, to) = (name(module), name(target));
                found.push(format!("{from} -> {to}: not allowed for {room}"));
            }
        }
        arrows.insert(module.clone(), targets);
    }
    found.extend(circles::find(&arrows).iter().map(|circle| {
        let names: Vec<String> = circle.iter().map(name).collect();
        format!("circle of imports: {}", names.join(", "))
    }));
    found
}

/// Allowed arrows that point upward, or to no room at all.
fn upward_rows(table: &[[&str; 3]], rooms: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (row, [room, may_use, _]) in table.iter().enumerate() {
        for used in may_use.split_whitespace().filter(|used| *used != ALL_BELOW) {
            match rooms.iter().position(|other| *other == used) {
                Some(other) if other > row => {}
                Some(_) => found.push(format!("table: {room} -> {used} points upward")),
                None => found.push(format!("table: {room} -> {used}, which has no row")),
            }
        }
    }
    found
}

/// The row of the innermost room that holds the module.
fn row_of(module: &Module, rooms: &[&str]) -> Option<usize> {
    if module.is_empty() {
        return rooms.iter().position(|room| *room == ROOT);
    }
    (1..=module.len()).rev().find_map(|length| {
        let path = module[..length].join("::");
        rooms.iter().position(|room| *room == path)
    })
}

fn unnamed_statements(manifest_dir: &Path, room: &str) -> Vec<String> {
    let in_room = |module: &Module| row_of(module, &[room]).is_some();
    let sources = read(manifest_dir);
    let mut found = Vec::new();
    for (module, source) in sources.iter().filter(|(module, _)| in_room(module)) {
        for call in source.calls_outside("statement", &EXECUTIONS) {
            found.push(format!(
                "{}: `.{call}(...)` outside `statement(...)`",
                name(module)
            ));
        }
    }
    found
}

fn name(module: &Module) -> String {
    if module.is_empty() {
        return ROOT.to_owned();
    }
    module.join("::")
}

/// Every module of the library. `main.rs` is a crate of its own, which sees only what is public.
fn read(manifest_dir: &Path) -> BTreeMap<Module, Source> {
    let root = manifest_dir.join("src");
    let mut sources = BTreeMap::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for path in entries(&directory) {
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && path != root.join("main.rs")
            {
                let text = fs::read_to_string(&path).expect("a source can be read");
                sources.insert(module_of(&path, &root), Source::parse(&text));
            }
        }
    }
    assert!(!sources.is_empty(), "no sources in {}", root.display());
    sources
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the directory can be read");
    entries
        .map(|entry| entry.expect("an entry can be read").path())
        .collect()
}

fn module_of(path: &Path, root: &Path) -> Module {
    let relative = path.strip_prefix(root).expect("a path below the root");
    let mut module: Module = relative
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if module
        .last()
        .is_some_and(|last| last == "mod" || last == ROOT)
    {
        module.pop();
    }
    module
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[[&str; 3]] = &[
        ["lib", "*", ""],
        ["api", "state domain", "sqlx"],
        ["state", "domain", ""],
        ["domain", "store", "axum HeaderMap"],
        ["store", "", "axum"],
    ];

    /// A crate in which everything is as it should be, and one file that is replaced.
    fn found(file: &str, text: &str) -> Vec<String> {
        let crate_root = tempfile::tempdir().unwrap();
        let files = [
            (
                "lib.rs",
                "mod api; mod domain; mod state; mod store; pub use state::State;",
            ),
            ("main.rs", "use quartet_x::State;"),
            ("api/mod.rs", "mod links; use crate::state::State;"),
            (
                "api/links.rs",
                "use crate::{domain::links, State}; fn f() { links::create() }",
            ),
            ("state.rs", "use crate::domain::Context; pub struct State;"),
            (
                "domain/mod.rs",
                "mod context; pub mod links; pub use context::Context;",
            ),
            ("domain/context.rs", "use crate::store; pub struct Context;"),
            (
                "domain/links.rs",
                "use super::Context; use crate::store::links as rows;",
            ),
            ("store/mod.rs", "pub mod links;"),
            (
                "store/links.rs",
                "fn f() { statement(\"a.b\", sqlx::query!(\"x\").fetch_one(db)) }",
            ),
        ];
        for (path, default) in files {
            let path = crate_root.path().join("src").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, default).unwrap();
        }
        fs::write(crate_root.path().join("src").join(file), text).unwrap();
        let mut found = violations(crate_root.path(), TABLE);
        found.extend(unnamed_statements(crate_root.path(), "store"));
        found
    }

    #[track_caller]
    fn assert_found(file: &str, text: &str, expected: &str) {
        let found = found(file, text);
        assert!(found.iter().any(|one| one.contains(expected)), "{found:?}");
    }

    #[test]
    fn downward_imports_pass() {
        assert_eq!(found("main.rs", ""), Vec::<String>::new());
    }

    #[test]
    fn upward_imports_fail_in_every_form() {
        for text in [
            "use crate::api::links;",
            "use crate::{\n    // why\n    api::{self, links},\n};",
            "use super::super::api;",
            "fn f() { crate::api::links::f() }",
            "macro_call!(\"{}\", crate::api::X);",
        ] {
            assert_found("store/links.rs", text, "store::links -> api");
        }
        assert_found("state.rs", "use crate::api;", "state -> api: not allowed");
        assert_found(
            "domain/links.rs",
            "use crate::State;",
            "domain::links -> state",
        );
        assert_found("api/links.rs", "use crate::store;", "not allowed for api");
        assert_found("store/mod.rs", "fn f() -> crate::Root {}", "store -> lib");
    }

    #[test]
    fn circles_fail_inside_of_a_room() {
        let circle = "circle of imports: domain::context, domain::links";
        assert_found("domain/context.rs", "use super::links::X;", circle);
        assert_found("domain/context.rs", "fn f() { super::links::f() }", circle);
        let parent = "mod context; mod links; pub use context::Context; use links::f; fn own() {}";
        assert_eq!(found("domain/mod.rs", parent), Vec::<String>::new());
        assert_found(
            "domain/mod.rs",
            "mod context; mod links; use links::f; pub struct Context;",
            "circle of imports: domain, domain::links",
        );
    }

    #[test]
    fn forbidden_names_and_unknown_rooms_fail() {
        assert_found(
            "api/links.rs",
            "use sqlx::PgPool;",
            "api must not name `sqlx`",
        );
        assert_found(
            "domain/links.rs",
            "fn f(h: &http::HeaderMap) {}",
            "`HeaderMap`",
        );
        assert_found(
            "api/mod.rs",
            "type Row = sqlx::Row;",
            "api must not name `sqlx`",
        );
        assert_found("jobs.rs", "", "jobs: no row in the table");
        let upward = upward_rows(&[["a", "", ""], ["b", "a", ""]], &["a", "b"]);
        assert_eq!(upward, ["table: b -> a points upward"]);
    }

    #[test]
    fn comments_strings_and_tests_are_not_read() {
        for text in [
            "// use crate::api;",
            "/* crate::api /* nested */ axum */",
            "fn f() -> &'static str { \"crate::api\" }",
            "fn f() -> &'static str { r#\"axum \" crate::api\"# }",
            "fn f<'axum>(c: char) -> bool { c == '\"' || c == '\\'' }",
            "#[cfg(test)]\nmod tests { use crate::api; fn f() {} }",
            "#[cfg(test)]\nuse crate::api;",
        ] {
            assert_eq!(
                found("store/links.rs", text),
                Vec::<String>::new(),
                "{text}"
            );
        }
    }

    #[test]
    fn statements_must_be_named() {
        let expected = "`.fetch_one(...)` outside `statement(...)`";
        for text in [
            "fn f() { sqlx::query!(\"x\").fetch_one(db) }",
            "fn f() { statement(\"a\", g()); query.build().fetch_one(&mut *db) }",
        ] {
            assert_found("store/links.rs", text, expected);
        }
        let inside = "fn f() { db::statement(\"a.b\", sqlx::query(\"x\").bind(y(1)).execute(db)) }";
        assert_eq!(found("store/links.rs", inside), Vec::<String>::new());
    }
}
