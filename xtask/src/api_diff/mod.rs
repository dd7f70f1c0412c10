//! `cargo xtask api-diff`: what has changed in the published interfaces, and whether clients break.
//!
//! Compares the committed `OpenAPI` documents with those of an earlier commit by rules of our own:
//! docs/adr/0014-tooling.md lists what available tools miss. The GraphQL schema of links is compared
//! by graphql-inspector.

mod openapi;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use quartet_devstack::workspace;
use serde_json::Value;

use crate::cargo::{SERVICES, output};
use crate::{git, suites, tools};

/// Before the first release: the first tree with complete services.
const FIRST: &str = "d953aa8";
const GRAPHQL_SCHEMA: &str = "services/links/schema.graphql";
const GRAPHQL_RULES: &str = "exec node sdk/lint/graphql-diff.mjs";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// All by default
    #[arg(value_parser = SERVICES)]
    service: Option<String>,
    /// A commit instead of the last release
    #[arg(long, value_name = "REF")]
    against: Option<String>,
    /// Also print compatible changes
    #[arg(long)]
    all: bool,
    /// Succeed even if clients would break
    #[arg(long)]
    allow_breaking: bool,
}

/// One difference between two versions of an interface.
#[derive(PartialEq, Eq)]
pub(crate) struct Change {
    /// Whether it breaks clients.
    pub(crate) breaking: bool,
    /// An operation or a type, and the path below it.
    pointer: String,
    /// The rule that decides whether it is breaking.
    rule: String,
    what: String,
}

impl Change {
    fn new(breaking: bool, pointer: &str, rule: &str, what: &str) -> Self {
        Self {
            breaking,
            pointer: pointer.to_owned(),
            rule: rule.to_owned(),
            what: what.to_owned(),
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let root = workspace::root();
    let mut breaks = false;
    let selected = args.service.as_deref();
    let is_selected = |service: &&str| selected.is_none_or(|it| it == *service);
    for service in SERVICES.into_iter().filter(is_selected) {
        let against = match &args.against {
            Some(named) => named.clone(),
            None => git::last_release(&root, service)?.unwrap_or_else(|| FIRST.to_owned()),
        };
        let changes = changes(&root, service, &against)?;
        println!("{service} since {against}:");
        print(&changes, args.all);
        breaks |= changes.iter().any(|change| change.breaking);
    }
    ensure!(
        args.allow_breaking || !breaks,
        "existing clients would break; --allow-breaking if that is intended"
    );
    Ok(())
}

fn print(changes: &[Change], all: bool) {
    if changes.is_empty() {
        println!("  no change");
    }
    let shown = |change: &&Change| all || change.breaking;
    for change in changes.iter().filter(shown) {
        let (pointer, rule, what) = (&change.pointer, &change.rule, &change.what);
        let breaking = change.breaking.then_some("BREAKING  ");
        let severity = breaking.unwrap_or("compatible");
        println!("  {severity} {pointer} {rule}: {what}");
    }
    let hidden = changes.len() - changes.iter().filter(shown).count();
    if hidden > 0 {
        println!("  {hidden} compatible changes; --all lists them");
    }
}

/// Compares the committed interfaces of one service with those at a commit; what breaks comes first.
pub(crate) fn changes(root: &Path, service: &str, against: &str) -> anyhow::Result<Vec<Change>> {
    let commit = git::commit(root, against)
        .with_context(|| format!("nothing to compare {service} with; name it: --against REF"))?;
    let path = format!("services/{service}/openapi.json");
    let new = fs::read_to_string(root.join(&path)).with_context(|| format!("read {path}"))?;
    let mut changes = match at(root, &commit, &path)? {
        Some(old) => openapi::compare(&json(&old)?, &json(&new)?),
        None => vec![Change::new(false, "", "document-added", &path)],
    };
    if service == "links" && at(root, &commit, GRAPHQL_SCHEMA)?.is_some() {
        changes.extend(graphql(root, &commit)?);
    }
    changes.sort_by_key(|it| (Reverse(it.breaking), it.pointer.clone(), it.rule.clone()));
    changes.dedup();
    Ok(changes)
}

/// The changes of the GraphQL schema, as sdk/lint/graphql-diff.mjs prints them.
fn graphql(root: &Path, commit: &str) -> anyhow::Result<Vec<Change>> {
    let programs = tools::install(&root.join("sdk/lint/package-lock.json"))?;
    let line = format!("{GRAPHQL_RULES} {commit} {GRAPHQL_SCHEMA}");
    let changes = json(&output(&mut suites::shell(&line, root, &programs)?)?)?;
    let changes = changes.as_array().context("no list of changes")?.iter();
    let change = |change: &Value| {
        let text = |field: &str| change[field].as_str().unwrap_or_default();
        let breaking = change["breaking"] == true;
        Change::new(breaking, text("pointer"), text("rule"), text("what"))
    };
    Ok(changes.map(change).collect())
}

/// A file at a commit; `None` if it did not exist.
fn at(root: &Path, commit: &str, path: &str) -> anyhow::Result<Option<String>> {
    let known = git::output(root, &["ls-tree", "--name-only", commit, "--", path])?;
    if known.is_empty() {
        return Ok(None);
    }
    git::output(root, &["show", &format!("{commit}:{path}")]).map(Some)
}

fn json(text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text).context("a document is not JSON")
}
