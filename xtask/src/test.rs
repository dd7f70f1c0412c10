//! Runs the tests with everything that they need.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use quartet_devstack::command::find;
use quartet_devstack::{Options, Postgres, signals, workspace};
use regex::Regex;

use crate::cargo::{build_for_tests, cargo, command, exit_code, output, status, succeed};
use crate::{compose, suites};

const DATABASE_VARIABLE: &str = "QUARTET_TEST_DATABASE_URL";
/// Programs that some tests need and Debian has, where they may be, and the variable without which
/// those tests fail where theirs is missing.
const SERVERS: [(&str, &str); 5] = [
    ("chromium", "QUARTET_TEST_WITHOUT_CHROMIUM"),
    ("nats-server", "QUARTET_TEST_WITHOUT_NATS"),
    ("pebble", "QUARTET_TEST_WITHOUT_PEBBLE"),
    ("pgbouncer", "QUARTET_TEST_WITHOUT_PGBOUNCER"),
    ("redis-server", "QUARTET_TEST_WITHOUT_REDIS"),
];
/// A block of code in a documentation comment, with the words after the fence that opens it.
const BLOCK: &str = "(?m)^ *//[/!] ?```(.*)\n(?: *//[/!].*\n)*? *//[/!] ?```$";
/// The words after a fence that opens an example.
const EXAMPLE: [&str; 4] = ["", "rust", "no_run", "should_panic"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Test the TypeScript and Python clients in Node.js, Python and headless Chromium
    #[arg(long, group = "suite")]
    clients: bool,
    /// Test the live stack with generated requests, a browser and clients in other languages
    #[arg(long, group = "suite")]
    conformance: bool,
    /// Seed of the generated requests
    #[arg(long, requires = "conformance", default_value_t = 1)]
    seed: u32,
    /// Time for the generated requests; everything else takes about a minute more
    #[arg(long, requires = "conformance", default_value_t = 240)]
    seconds: u32,
    /// Test the composed stack with every Compose in `QUARTET_COMPOSE`; skipped without Docker
    #[arg(long, group = "suite")]
    compose: bool,
    /// Existing images for --compose, instead of building some
    #[arg(long, requires = "compose", value_name = "TAG")]
    image_tag: Option<String>,
    /// For the test runner: `-p quartet-core`, names of tests
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.clients {
        build_for_tests()?;
        suites::clients()?;
    } else if args.conformance {
        suites::conformance(args.seed, args.seconds)?;
    } else if args.compose {
        compose::run(args.image_tag.as_deref(), &args.arguments)?;
    } else {
        return workspace_tests(&args.arguments);
    }
    Ok(ExitCode::SUCCESS)
}

/// All tests in Rust, or those that the arguments select.
fn workspace_tests(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let scope = if selects_packages(arguments) {
        None
    } else {
        build_for_tests()?;
        Some("--workspace")
    };
    let environment = Environment::start()?;
    if arguments.is_empty() && has_nextest() {
        // nextest runs no documentation tests. They come first, so that its summary is last.
        for package in packages_with_doc_tests(&workspace::root())? {
            let doc_tests = cargo(["test", "--doc", "--manifest-path", &package]);
            succeed(environment.apply(doc_tests))?;
        }
    }
    run_tests(scope, arguments, environment)
}

fn selects_packages(arguments: &[String]) -> bool {
    let is_selection = |word: &String| word.starts_with("-p") || word.starts_with("--package");
    arguments.iter().any(is_selection)
}

/// Only the end-to-end tests.
pub(crate) fn end_to_end(arguments: &[String]) -> anyhow::Result<ExitCode> {
    build_for_tests()?;
    run_tests(
        ["--package", "quartet-e2e"],
        arguments,
        Environment::start()?,
    )
}

/// The summary of the runner stays the last output.
fn run_tests(
    scope: impl IntoIterator<Item = &'static str>,
    arguments: &[String],
    environment: Environment,
) -> anyhow::Result<ExitCode> {
    let runner: &[&str] = if has_nextest() {
        &["nextest", "run"]
    } else {
        &["test"]
    };
    let mut command = cargo(runner);
    command.args(scope).args(arguments);
    let status = status(&mut environment.apply(command))?;
    drop(environment);
    Ok(exit_code(status))
}

/// The servers that tests use.
pub(crate) struct Environment {
    /// Stops when it is dropped; none when the caller named a server.
    postgres: Option<Postgres>,
    /// Variables that skip the tests of servers that are not installed.
    without: Vec<&'static str>,
}

impl Environment {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let without = missing_servers();
        let postgres = if std::env::var_os(DATABASE_VARIABLE).is_some() {
            println!("Postgres: using {DATABASE_VARIABLE}");
            None
        } else {
            Some(throw_away_postgres()?)
        };
        Ok(Self { postgres, without })
    }

    pub(crate) fn apply(&self, mut command: Command) -> Command {
        if let Some(postgres) = &self.postgres {
            command.env(DATABASE_VARIABLE, postgres.admin_url().reveal());
        }
        command.envs(self.without.iter().map(|variable| (variable, "1")));
        // The developer's own database must not influence the tests.
        command.env_remove("DATABASE_URL");
        command
    }
}

pub(crate) fn throw_away_postgres() -> anyhow::Result<Postgres> {
    Postgres::find_or_start(&Options {
        say: |line| println!("{line}"),
        cancel: signals::cancel().clone(),
        ..Options::throw_away()
    })
}

/// Says which tests are skipped, so that a new machine needs nothing but Rust.
fn missing_servers() -> Vec<&'static str> {
    let mut servers = SERVERS.to_vec();
    servers.retain(|(name, _)| find(name).is_none());
    for (program, _) in &servers {
        let advice = format!("Debian: apt-get install {program}");
        println!("{program} is not installed: its tests are skipped ({advice})");
    }
    servers.into_iter().map(|(_, variable)| variable).collect()
}

fn has_nextest() -> bool {
    output(&mut cargo(["nextest", "--version"])).is_ok()
}

/// The manifests of libraries with examples in their documentation.
fn packages_with_doc_tests(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    // Without the index, so that it also works in a tree that is not a repository.
    let mut search = command("git", ["grep", "--no-index", "-l", "```", "--"]);
    search.args(["libs/*.rs", "sdk/*.rs", "services/*.rs"]);
    let found = search.current_dir(root).output()?;
    let block = Regex::new(BLOCK)?;
    let mut packages = BTreeSet::new();
    for path in String::from_utf8_lossy(&found.stdout).lines() {
        let text = fs::read_to_string(root.join(path))?;
        let is_example = |words: &str| words.split(',').all(|it| EXAMPLE.contains(&it.trim()));
        let has_example = block.captures_iter(&text).any(|it| is_example(&it[1]));
        let package = path.split_once("/src/").map_or(path, |it| it.0);
        if has_example && root.join(package).join("src/lib.rs").is_file() {
            packages.insert(format!("{package}/Cargo.toml"));
        }
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{packages_with_doc_tests, selects_packages};

    #[test]
    fn examples_are_distinguished_from_other_blocks() {
        let root = tempfile::tempdir().unwrap();
        let library = |name: &str, text: &str| {
            let source = root.path().join("libs").join(name).join("src");
            fs::create_dir_all(&source).unwrap();
            fs::write(source.join("lib.rs"), text).unwrap();
        };
        library("plain", "/// ```\n/// let a = 1;\n/// ```\n");
        library("quiet", "//! ```no_run\n//! run();\n//! ```\n");
        library("code", "let fence = \"```\";\n");
        library("prose", "/// ```text\n/// a -> b\n/// ```\n");
        let found = packages_with_doc_tests(root.path()).unwrap();
        let found: Vec<String> = found.into_iter().collect();
        assert_eq!(found, ["libs/plain/Cargo.toml", "libs/quiet/Cargo.toml"]);
    }

    #[test]
    fn arguments_that_select_packages_are_recognized() {
        let selects = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            selects_packages(&words)
        };
        assert!(selects(&["-p", "quartet-core"]));
        assert!(selects(&["--package=quartet-core"]));
        assert!(!selects(&["sessions", "--no-fail-fast"]));
    }
}
