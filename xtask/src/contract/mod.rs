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

use crate::cargo::{SERVICES, cargo, command, status, succeed};
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
    let (services, tests) = previous.build()?;
    println!("Building today's {service}");
    let package = format!("quartet-{service}");
    succeed(cargo(["build", "--package", &package]))?;
    let directory = previous.scratch();
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory)?;
    let contract = Contract {
        service,
        previous,
        services,
        tests,
        today: directory.join("today"),
    };
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
    /// The programs of the last release, and its end-to-end tests.
    services: Vec<PathBuf>,
    tests: PathBuf,
    /// A copy of today's binary, which another build could replace in the meantime.
    today: PathBuf,
}

impl Contract<'_> {
    /// The tests of the last release, with the binaries of a step in the layout that the tests of
    /// any release expect: the services where `target/debug` has them, the test program in `deps`.
    /// The release needs to know nothing about it, so that any commit can be compared with.
    fn tests(&self, step: Step, root: &Path) -> anyhow::Result<Command> {
        // The tests check responses of today's service against its document of today, so that
        // additions to a response are not a breach.
        let document = (step == Step::Binary).then_some(root);
        self.previous.describe(self.service, document)?;
        let directory = self.previous.scratch().join(format!("{step:?}"));
        let replaced = directory.join(format!("quartet-{}", self.service));
        fs::create_dir_all(directory.join("deps"))?;
        for program in &self.services {
            let name = program.file_name().context("a program without a name")?;
            let place = directory.join(name);
            match step {
                Step::Binary if place == replaced => symlink(&self.today, place)?,
                Step::Schema if place == replaced => {
                    fs::write(&place, script(&self.today, program))?;
                    fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
                }
                _ => symlink(program, place)?,
            }
        }
        ensure!(
            replaced.exists(),
            "the last release has no quartet-{}",
            self.service
        );
        // The test program looks beside itself, past symbolic links: it has to be a copy.
        let program = directory.join("deps/it");
        fs::copy(&self.tests, &program)?;
        let package = self.previous.source().join("tests");
        let mut tests = command(program, [CONCURRENCY]);
        // As cargo sets it: the tests find the source tree by it.
        tests
            .env("CARGO_MANIFEST_DIR", &package)
            .current_dir(package);
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
