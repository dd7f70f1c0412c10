//! `cargo xtask api-diff`: what of the published interfaces has changed, and whether clients break.
//!
//! Compares the committed `OpenAPI` documents, and links' GraphQL schema, with those of an earlier
//! commit. No tool that works offline reads 3.1, so this one is our own, and small.

mod change;
mod graphql;
mod openapi;
mod schema;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use quartet_devstack::workspace;
use serde_json::Value;

use crate::git;
pub(crate) use change::Change;

/// What nothing was released before: the first tree whose services were whole.
const FIRST: &str = "d953aa8";
const SERVICES: [&str; 4] = ["core", "media", "links", "gateway"];
const SDL: &str = "services/links/schema.graphql";

/// The changes of one service since a commit.
pub(crate) struct Report {
    pub(crate) service: &'static str,
    /// The name that the commit was asked for by.
    pub(crate) against: String,
    pub(crate) changes: Vec<Change>,
}

/// Exit code 1 when a change breaks clients, unless that is allowed.
pub(crate) fn run(words: &[&str]) -> anyhow::Result<ExitCode> {
    let options = Options::parse(words)?;
    let root = workspace::root();
    let mut broken = false;
    for service in SERVICES {
        if options.service.is_none_or(|wanted| wanted == service) {
            let report = compare(&root, service, options.against)?;
            print(&report, options.all);
            broken |= report.is_breaking();
        }
    }
    if broken && !options.allow_breaking {
        eprintln!("error: clients that work today would break; --allow-breaking if that is meant");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Compares the committed documents of one service with those at `against`, or with those of its
/// last release.
///
/// # Errors
/// When the commit is not there, or a document cannot be read.
pub(crate) fn compare(
    root: &Path,
    service: &'static str,
    against: Option<&str>,
) -> anyhow::Result<Report> {
    let against = match against {
        Some(reference) => reference.to_owned(),
        None => git::last_release(root, service)?.unwrap_or_else(|| FIRST.to_owned()),
    };
    let commit = git::commit(root, &against)
        .with_context(|| format!("nothing to compare {service} with; name it: --against REF"))?;
    let path = format!("services/{service}/openapi.json");
    let mut changes = match at(root, &commit, &path)? {
        Some(old) => openapi::compare(&json(&old)?, &json(&now(root, &path)?)?),
        None => vec![Change::compatible("", "document-added", &path)],
    };
    if service == "links"
        && let Some(old) = at(root, &commit, SDL)?
    {
        changes.extend(graphql::compare(&old, &now(root, SDL)?)?);
    }
    changes.sort();
    changes.dedup();
    Ok(Report {
        service,
        against,
        changes,
    })
}

impl Report {
    pub(crate) fn is_breaking(&self) -> bool {
        self.changes.iter().any(|change| change.breaking)
    }
}

struct Options<'a> {
    service: Option<&'a str>,
    against: Option<&'a str>,
    allow_breaking: bool,
    /// Also what breaks nobody.
    all: bool,
}

impl<'a> Options<'a> {
    fn parse(words: &[&'a str]) -> anyhow::Result<Self> {
        let mut options = Self {
            service: None,
            against: None,
            allow_breaking: false,
            all: false,
        };
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            match word {
                "--against" => {
                    options.against = Some(words.next().context("--against needs a REF")?);
                }
                "--all" => options.all = true,
                "--allow-breaking" => options.allow_breaking = true,
                service if SERVICES.contains(&service) => options.service = Some(service),
                other => bail!("`{other}` is not known here; see `cargo xtask --help`"),
            }
        }
        Ok(options)
    }
}

fn print(report: &Report, all: bool) {
    let Report {
        service, against, ..
    } = report;
    if report.changes.is_empty() {
        println!("{service} since {against}: no change");
        return;
    }
    println!("{service} since {against}:");
    let shown = |change: &&Change| all || change.breaking;
    for change in report.changes.iter().filter(shown) {
        println!("  {change}");
    }
    let hidden = report.changes.len() - report.changes.iter().filter(shown).count();
    if hidden > 0 {
        println!("  {hidden} compatible changes; --all lists them");
    }
}

/// A file at a commit; `None` where it was not there yet.
fn at(root: &Path, commit: &str, path: &str) -> anyhow::Result<Option<String>> {
    let known = git::output(root, &["ls-tree", "--name-only", commit, "--", path])?;
    if known.is_empty() {
        return Ok(None);
    }
    git::output(root, &["show", &format!("{commit}:{path}")]).map(Some)
}

fn now(root: &Path, path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"))
}

fn json(text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text).context("a document is no JSON")
}
