//! `cargo xtask api-diff`: what has changed in the published interfaces, and whether clients break.
//!
//! Compares the committed `OpenAPI` documents with those of an earlier commit by rules of our own:
//! docs/adr/0014-tooling.md lists what available tools miss. The GraphQL schema of links is compared
//! by graphql-inspector.

mod entries;
mod openapi;
mod schema;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use quartet_devstack::workspace;
use serde_json::Value;

use crate::cargo::output;
use crate::service::Service;
use crate::signals::Signals;
use crate::{git, suites, tools};

/// Before the first release: the first tree with complete services.
const FIRST: &str = "d953aa8";
const GRAPHQL_SCHEMA: &str = "services/links/schema.graphql";
const GRAPHQL_RULES: &str = "exec node sdk/lint/graphql-diff.mjs";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// All by default
    service: Option<Service>,
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

/// The changes of one service since a commit.
pub(crate) struct Report {
    service: Service,
    /// The commit, as it was named.
    against: String,
    changes: Vec<Change>,
}

/// One difference between two versions of an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    severity: Severity,
    /// An operation or a type, and the path below it.
    pointer: String,
    /// The rule that decides on the severity.
    rule: String,
    what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Breaking,
    Compatible,
}

pub(crate) fn run(args: &Args, signals: &Signals) -> anyhow::Result<ExitCode> {
    let root = workspace::root();
    let mut breaks = false;
    for service in Service::ALL {
        if args.service.is_none_or(|selected| selected == service) {
            let against = match &args.against {
                Some(named) => named.clone(),
                None => git::last_release(&root, service)?.unwrap_or_else(|| FIRST.to_owned()),
            };
            let report = compare(&root, service, &against, signals)?;
            report.print(args.all);
            breaks |= report.is_breaking();
        }
    }
    if breaks && !args.allow_breaking {
        eprintln!("error: existing clients would break; --allow-breaking if that is intended");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Compares the committed interfaces of one service with those at a commit.
pub(crate) fn compare(
    root: &Path,
    service: Service,
    against: &str,
    signals: &Signals,
) -> anyhow::Result<Report> {
    let commit = git::commit(root, against)
        .with_context(|| format!("nothing to compare {service} with; name it: --against REF"))?;
    let path = service.file("openapi.json");
    let mut changes = match at(root, &commit, &path)? {
        Some(old) => openapi::compare(&json(&old)?, &json(&now(root, &path)?)?),
        None => vec![Change::compatible("", "document-added", &path)],
    };
    if service == Service::Links && at(root, &commit, GRAPHQL_SCHEMA)?.is_some() {
        changes.extend(graphql(root, &commit, signals)?);
    }
    changes.sort();
    changes.dedup();
    Ok(Report {
        service,
        against: against.to_owned(),
        changes,
    })
}

/// The changes of the GraphQL schema, as sdk/lint/graphql-diff.mjs prints them.
fn graphql(root: &Path, commit: &str, signals: &Signals) -> anyhow::Result<Vec<Change>> {
    let programs = tools::install(&root.join("sdk/lint/package-lock.json"), signals)?;
    let line = format!("{GRAPHQL_RULES} {commit} {GRAPHQL_SCHEMA}");
    let mut rules = suites::shell(&line, root, &programs)?;
    let changes = json(&output(&mut rules)?)?;
    let changes = changes.as_array().context("no list of changes")?;
    let text = |change: &Value, field: &str| change[field].as_str().unwrap_or_default().to_owned();
    let change = |change: &Value| {
        let (pointer, rule) = (text(change, "pointer"), text(change, "rule"));
        Change::new(
            change["breaking"] == true,
            pointer,
            rule,
            text(change, "what"),
        )
    };
    Ok(changes.iter().map(change).collect())
}

impl Report {
    pub(crate) fn is_breaking(&self) -> bool {
        let mut changes = self.changes.iter();
        changes.any(|change| change.severity == Severity::Breaking)
    }

    fn print(&self, all: bool) {
        let Self {
            service,
            against,
            changes,
        } = self;
        if changes.is_empty() {
            println!("{service} since {against}: no change");
            return;
        }
        println!("{service} since {against}:");
        let is_shown = |change: &&Change| all || change.severity == Severity::Breaking;
        for change in changes.iter().filter(is_shown) {
            println!("  {change}");
        }
        let hidden = changes.len() - changes.iter().filter(is_shown).count();
        if hidden > 0 {
            println!("  {hidden} compatible changes; --all lists them");
        }
    }
}

impl Change {
    fn new(
        breaking: bool,
        pointer: impl Into<String>,
        rule: impl Into<String>,
        what: impl Into<String>,
    ) -> Self {
        Self {
            severity: if breaking {
                Severity::Breaking
            } else {
                Severity::Compatible
            },
            pointer: pointer.into(),
            rule: rule.into(),
            what: what.into(),
        }
    }

    fn compatible(pointer: &str, rule: &str, what: &str) -> Self {
        Self::new(false, pointer, rule, what)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Breaking => "BREAKING  ",
            Severity::Compatible => "compatible",
        };
        write!(
            f,
            "{severity} {} {}: {}",
            self.pointer, self.rule, self.what
        )
    }
}

/// A file at a commit; `None` if it did not exist.
fn at(root: &Path, commit: &str, path: &str) -> anyhow::Result<Option<String>> {
    let known = git::output(root, &["ls-tree", "--name-only", commit, "--", path])?;
    if known.is_empty() {
        return Ok(None);
    }
    git::output(root, &["show", &format!("{commit}:{path}")]).map(Some)
}

fn now(root: &Path, path: &str) -> anyhow::Result<String> {
    fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"))
}

fn json(text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text).context("a document is not JSON")
}
