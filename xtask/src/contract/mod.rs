//! `cargo xtask contract`: can one service be deployed alone? Runs the end-to-end tests of the last
//! release on its binaries, with today's build of one service in place of its own (an upgrade), and
//! with that service unchanged on today's schema (a rollback).
//!
//! ```text
//! step       the service     its schema    the other services
//! baseline   last release    last release  last release
//! binary     today           today         last release
//! schema     last release    today         last release
//! ```

mod document;
mod previous;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use quartet_devstack::workspace;

use crate::cargo::{SERVICES, cargo, status, succeed};
use crate::git;
use crate::test::Environment;
use previous::PreviousRelease;

/// In a service's directory: tests of the last release that today's service fails on purpose, in
/// lines of `TEST: REASON`, until the next release. Comments begin with `#`.
pub(crate) const EXCEPTIONS: &str = "contract.txt";
/// More whole stacks at the same time disturb each other.
const CONCURRENCY: &str = "--test-threads=2";
/// Tests whether a release serves the documents committed with it, which today's service does not.
const OWN_DOCUMENTS: &str = "the_documents_are_served_and_merged";

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_parser = SERVICES)]
    service: String,
    /// A commit instead of the last release
    #[arg(long, value_name = "REF")]
    previous: Option<String>,
    /// Only one of the steps; binary and schema by default
    #[arg(long)]
    step: Option<Step>,
    /// Names of tests
    #[arg(last = true)]
    tests: Vec<String>,
}

/// One run of the tests of the last release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Nothing is replaced: distinguishes a broken contract from a broken test
    Baseline,
    /// Today's service among the others of the last release
    Binary,
    /// The service of the last release on today's schema
    Schema,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let root = workspace::root();
    let service = args.service.as_str();
    let reference = match &args.previous {
        Some(named) => Some(named.clone()),
        None => git::last_release(&root, service)?,
    };
    let Some(reference) = reference else {
        println!(
            "{service} has no release before this commit (no tag {service}-v*), so there is \
             nothing to break. `--previous REF` compares with any commit."
        );
        return Ok(());
    };
    let previous = PreviousRelease::check_out(&root, &reference)?;
    let manifest = previous
        .source()
        .join(format!("services/{service}/Cargo.toml"));
    ensure!(
        manifest.is_file(),
        "{reference} has no service `{service}`, so there is nothing to break"
    );
    println!("Building {reference}");
    previous.build()?;
    println!("Building today's {service}");
    let package = format!("quartet-{service}");
    succeed(cargo(["build", "--package", &package]))?;
    let directory = previous.scratch();
    fs::create_dir_all(&directory)?;
    let contract = Contract {
        service,
        program: previous.program(&package),
        released: directory.join("released"),
        today: directory.join("today"),
        previous,
    };
    fs::copy(&contract.program, &contract.released)
        .with_context(|| format!("the last release has no {package}"))?;
    fs::copy(workspace::binary(&package)?, &contract.today).context("copy today's binary")?;
    let environment = Environment::start()?;
    let mut broken = Vec::new();
    for step in steps(args, &root) {
        let meaning = match step {
            Step::Baseline => format!("everything as of {reference}"),
            Step::Binary => format!("today's {service}, all others as of {reference}"),
            Step::Schema => format!("{service} of {reference} on today's schema"),
        };
        let name = format!("{step:?}").to_lowercase();
        println!("\n{name}: {meaning}");
        let mut tests = contract.tests(step, &root)?;
        tests.args(&args.tests);
        if !status(&mut environment.apply(tests))?.success() {
            broken.push(format!("{name} fails: {meaning}"));
        }
    }
    ensure!(
        broken.is_empty(),
        "{}\nTo see whether the tests of {reference} pass without any change, run \
         `cargo xtask contract {service} --previous {reference} --step baseline`.",
        broken.join("\nerror: ")
    );
    println!("\n{service} keeps its contract with {reference}");
    Ok(())
}

fn steps(args: &Args, root: &Path) -> Vec<Step> {
    let has_schema = root.join(format!("db/schemas/{}", args.service)).is_dir();
    match args.step {
        Some(step) => vec![step],
        None if has_schema => vec![Step::Binary, Step::Schema],
        None => vec![Step::Binary],
    }
}

struct Contract<'a> {
    service: &'a str,
    previous: PreviousRelease,
    /// Where the tests of the release find the service.
    program: PathBuf,
    /// Copies of its two builds; another build could replace today's in the meantime.
    released: PathBuf,
    today: PathBuf,
}

impl Contract<'_> {
    /// The tests of the last release, with the binary of a step in the place of the service. The
    /// release needs to know nothing about it, so that any commit can be compared with.
    fn tests(&self, step: Step, root: &Path) -> anyhow::Result<Command> {
        // The tests check responses of today's service against its document of today, so that
        // additions to a response are not a breach.
        let document = (step == Step::Binary).then_some(root);
        self.previous.describe(self.service, document)?;
        // Removed, not overwritten: cargo has linked it to a file of its own, and puts the link back
        // at the next build.
        fs::remove_file(&self.program)?;
        match step {
            Step::Baseline => symlink(&self.released, &self.program)?,
            Step::Binary => symlink(&self.today, &self.program)?,
            Step::Schema => {
                fs::write(&self.program, script(&self.today, &self.released))?;
                fs::set_permissions(&self.program, fs::Permissions::from_mode(0o755))?;
            }
        }
        let mut tests = self.previous.tests();
        tests.args(["--", CONCURRENCY]);
        if step == Step::Binary {
            tests.args(["--skip", OWN_DOCUMENTS]);
            for (test, reason) in exceptions(root, self.service)? {
                println!("skipped: {test} ({reason})");
                tests.args(["--skip", &test]);
            }
        }
        Ok(tests)
    }
}

/// A script that migrates with one binary and does everything else with the other.
fn script(migrating: &Path, serving: &Path) -> String {
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let (migrating, serving) = (quoted(migrating), quoted(serving));
    format!(
        "#!/bin/sh\n\
         case \"$1\" in migrate) exec {migrating} \"$@\" ;; esac\n\
         exec {serving} \"$@\"\n"
    )
}

fn exceptions(root: &Path, service: &str) -> anyhow::Result<Vec<(String, String)>> {
    let path = root.join("services").join(service).join(EXCEPTIONS);
    if !path.exists() {
        return Ok(Vec::new());
    }
    parse(&fs::read_to_string(&path)?).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let exceptions = lines.map(|line| {
        let parts = line.split_once(": ");
        let (test, reason) = parts.with_context(|| format!("`{line}` is not `TEST: REASON`"))?;
        Ok((test.to_owned(), reason.to_owned()))
    });
    exceptions.collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{parse, script};

    #[test]
    fn only_migrations_run_the_other_binary() {
        let script = script("/bin/echo".as_ref(), "/usr/bin/printf".as_ref());
        let run = |words: &[&str]| {
            let output = Command::new("sh")
                .args(["-c", &script, "core"])
                .args(words)
                .output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        assert_eq!(run(&["migrate", "now"]), "migrate now\n");
        assert_eq!(run(&["serve", "now"]), "serve");
    }

    #[test]
    fn every_exception_has_a_reason() {
        let text = "# Until the next release.\n\nlimits::a_test: the limit is 2 now: see #7\n";
        let exceptions = parse(text).unwrap();
        let expected = ("limits::a_test".into(), "the limit is 2 now: see #7".into());
        assert_eq!(exceptions, [expected]);
        assert!(parse("limits::a_test\n").is_err());
    }
}
