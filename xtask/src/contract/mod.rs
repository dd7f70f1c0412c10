//! `cargo xtask contract`: may one service be deployed alone? The end-to-end tests of
//! the release before, on its binaries, run with today's build of one service among
//! them; and with that service as it was, on the schema as it is today.

mod document;
pub(crate) mod exceptions;
mod previous;
mod rig;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail, ensure};
use quartet_devstack::workspace;

use crate::cargo::{cargo, status, succeed};
use crate::git;
use crate::signals::Signals;
use crate::test::Environment;
use previous::Previous;
use rig::Rig;

pub(crate) fn run(words: &[&str], signals: &Signals) -> anyhow::Result<ExitCode> {
    let wanted = Wanted::parse(words)?;
    let root = workspace::root();
    let service = wanted.service;
    let manifest = format!("services/{service}/Cargo.toml");
    ensure!(
        root.join(&manifest).is_file(),
        "there is no service `{service}`"
    );
    let Some(reference) = wanted.reference(&root)? else {
        println!(
            "{service} has no release before this commit (no tag {service}-v*): there is nothing \
             to break. `--previous REF` compares with any commit."
        );
        return Ok(ExitCode::SUCCESS);
    };
    let previous = Previous::check_out(&root, &reference, signals)?;
    ensure!(
        previous.source().join(&manifest).is_file(),
        "{reference} has no service `{service}`: there is nothing to break"
    );
    println!("Building {reference}");
    let built = previous.build(signals)?;
    println!("Building today's {service}");
    let package = format!("quartet-{service}");
    succeed(cargo(["build", "--package", &package]), signals)?;
    let rig = Rig::new(&built, service, &workspace::binary(&package)?)?;
    let environment = Environment::start(signals)?;
    let mut broken = Vec::new();
    for step in wanted.steps(&root) {
        println!("\n{}: {}", step.name(), step.meaning(service, &reference));
        let mut tests = rig.tests(step)?;
        tests.args(wanted.arguments);
        if step == Step::Binary {
            for exception in exceptions::read(&root, service)? {
                println!("left out: {} ({})", exception.test, exception.reason);
                tests.args(["--skip", &exception.test]);
            }
        }
        if !run_tests(tests, &environment, signals)? {
            broken.push(step);
        }
    }
    Ok(report(service, &reference, &broken))
}

fn run_tests(tests: Command, environment: &Environment, signals: &Signals) -> anyhow::Result<bool> {
    Ok(status(&mut environment.apply(tests), signals)?.success())
}

fn report(service: &str, reference: &str, broken: &[Step]) -> ExitCode {
    if broken.is_empty() {
        println!("\n{service} keeps its contract with {reference}");
        return ExitCode::SUCCESS;
    }
    for step in broken {
        eprintln!(
            "error: {} fails: {}",
            step.name(),
            step.meaning(service, reference)
        );
    }
    eprintln!(
        "Whether the tests of {reference} pass without any change tells \
         `cargo xtask contract {service} --previous {reference} --step baseline`."
    );
    ExitCode::FAILURE
}

/// One run of the tests of the release before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing is exchanged: only to tell a broken contract from a broken test.
    Baseline,
    /// Today's service among the others as they were.
    Binary,
    /// The service as it was, on the schema that today's service makes.
    Schema,
}

impl Step {
    const ALL: [Self; 3] = [Self::Baseline, Self::Binary, Self::Schema];

    fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Binary => "binary",
            Self::Schema => "schema",
        }
    }

    fn meaning(self, service: &str, reference: &str) -> String {
        match self {
            Self::Baseline => format!("everything as it was at {reference}"),
            Self::Binary => format!("today's {service}, all others as they were at {reference}"),
            Self::Schema => format!("{service} of {reference} on today's schema"),
        }
    }
}

/// What the command line asks for.
#[derive(Debug)]
struct Wanted<'a> {
    service: &'a str,
    previous: Option<&'a str>,
    step: Option<Step>,
    /// For the test program: names of tests.
    arguments: &'a [&'a str],
}

impl<'a> Wanted<'a> {
    fn parse(words: &'a [&'a str]) -> anyhow::Result<Self> {
        let end = words.iter().position(|&word| word == "--");
        let (own, arguments) = words.split_at(end.unwrap_or(words.len()));
        let (mut service, mut previous, mut step) = (None, None, None);
        let mut own = own.iter();
        while let Some(&word) = own.next() {
            match word {
                "--previous" => previous = Some(*own.next().context("--previous wants a commit")?),
                "--step" => step = Some(named_step(own.next().copied().unwrap_or_default())?),
                word if !word.starts_with('-') && service.is_none() => service = Some(word),
                other => bail!("`{other}` is not known here; see `cargo xtask --help`"),
            }
        }
        Ok(Self {
            service: service.context("name a service: core, media, links or gateway")?,
            previous,
            step,
            arguments: arguments.get(1..).unwrap_or_default(),
        })
    }

    /// What to compare with: a commit that was named, or the last release.
    fn reference(&self, root: &Path) -> anyhow::Result<Option<String>> {
        match self.previous {
            Some(named) => Ok(Some(named.to_owned())),
            None => git::last_release(root, self.service),
        }
    }

    fn steps(&self, root: &Path) -> Vec<Step> {
        let has_schema = root.join("db/schemas").join(self.service).is_dir();
        match self.step {
            Some(step) => vec![step],
            None if has_schema => vec![Step::Binary, Step::Schema],
            None => vec![Step::Binary],
        }
    }
}

fn named_step(name: &str) -> anyhow::Result<Step> {
    let known = Step::ALL.into_iter().find(|step| step.name() == name);
    known.with_context(|| format!("--step wants baseline, binary or schema, not `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::{Step, Wanted};

    #[test]
    fn reads_its_arguments() {
        let wanted = Wanted::parse(&["core"]).unwrap();
        assert_eq!(
            (wanted.service, wanted.previous, wanted.step),
            ("core", None, None)
        );
        let words = [
            "--previous",
            "v1",
            "links",
            "--step",
            "schema",
            "--",
            "identity",
        ];
        let wanted = Wanted::parse(&words).unwrap();
        assert_eq!((wanted.service, wanted.previous), ("links", Some("v1")));
        assert_eq!(wanted.step, Some(Step::Schema));
        assert_eq!(wanted.arguments, ["identity"]);
    }

    #[test]
    fn tells_what_is_wrong() {
        let fails = |words: &[&str]| Wanted::parse(words).unwrap_err().to_string();
        assert!(fails(&[]).contains("name a service"));
        assert!(fails(&["core", "--step", "all"]).contains("not `all`"));
        assert!(fails(&["core", "links"]).contains("`links` is not known"));
        assert!(fails(&["core", "--previous"]).contains("wants a commit"));
    }
}
