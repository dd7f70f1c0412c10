//! The composed stack, tried on a real engine with every Compose that is there.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use quartet_devstack::workspace;

use crate::cargo::{cargo, succeed};
use crate::image;
use crate::signals::Signals;

/// Names the Compose commands to try, separated by commas.
const COMPOSE_VARIABLE: &str = "QUARTET_COMPOSE";
/// Tells the tests which one is tried; see tests/it/compose.
const TEST_VARIABLE: &str = "QUARTET_TEST_COMPOSE";
const COMPOSE_COMMANDS: &str = "docker compose,docker-compose";
const SERVICES: [&str; 5] = ["core", "media", "links", "gateway", "devstore"];

/// An image of a third party: how stack.yaml names it, and what stands in for it where
/// nothing can be pulled.
struct Foreign {
    variable: &'static str,
    image: &'static str,
    stand_in: &'static str,
    recipe: &'static str,
}

const POSTGRES: Foreign = Foreign {
    variable: "QUARTET_POSTGRES_IMAGE",
    image: "postgres:17",
    stand_in: "quartet/local-postgres:15",
    recipe: "postgres",
};
const GARAGE: Foreign = Foreign {
    variable: "QUARTET_GARAGE_IMAGE",
    image: "dxflrs/garage:v2.5.0",
    stand_in: "quartet/local-garage:2.5.0",
    recipe: "garage",
};

/// What the words after `test --compose` ask for.
#[derive(Debug, Default, PartialEq)]
struct Wanted<'a> {
    /// Images that are there already.
    tag: Option<&'a str>,
    /// The rest goes to the test runner.
    tests: Vec<&'a str>,
}

pub(crate) fn run(words: &[&str], signals: &Signals) -> anyhow::Result<ExitCode> {
    let wanted = Wanted::parse(words)?;
    if let Err(reason) = engine() {
        println!("Left out: the composed stack needs a Docker engine, and {reason}");
        return Ok(ExitCode::SUCCESS);
    }
    let composers = composers();
    if composers.is_empty() {
        println!("Left out: there is an engine but no Compose ({COMPOSE_COMMANDS})");
        return Ok(ExitCode::SUCCESS);
    }
    let mut variables = foreign(signals)?;
    let tag = if let Some(tag) = wanted.tag {
        tag
    } else {
        image::run(&["--tag", "compose-test"], signals)?;
        "compose-test"
    };
    for service in SERVICES {
        variables.push((
            format!("QUARTET_{}_TAG", service.to_uppercase()),
            tag.to_owned(),
        ));
    }
    for (composer, version) in composers {
        println!("With `{composer}` {version}");
        let mut tests = cargo(["test", "--package", "quartet-e2e", "--test", "it", "--"]);
        tests
            .args(["--ignored", "--nocapture", "--test-threads=1"])
            .args(wanted.names())
            .env(TEST_VARIABLE, composer)
            .envs(variables.iter().map(|(name, value)| (name, value)));
        succeed(tests, signals)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl<'a> Wanted<'a> {
    fn parse(words: &[&'a str]) -> anyhow::Result<Self> {
        let mut wanted = Self::default();
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            match word {
                "--image-tag" => {
                    wanted.tag = Some(words.next().context("--image-tag wants a tag")?);
                }
                option if option.starts_with('-') => bail!("`{option}` is not known here"),
                test => wanted.tests.push(test),
            }
        }
        Ok(wanted)
    }

    /// A test runs when one of these is in its name.
    fn names(&self) -> Vec<&'a str> {
        if self.tests.is_empty() {
            return vec!["compose::"];
        }
        self.tests.clone()
    }
}

/// Why there is none.
fn engine() -> Result<(), String> {
    let answer = Command::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .output()
        .map_err(|error| format!("`docker` cannot be run: {error}"))?;
    if answer.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&answer.stderr);
    Err(told.lines().next().unwrap_or("none answers").to_owned())
}

/// The Compose commands that work, each with its version.
fn composers() -> Vec<(String, String)> {
    let commands = std::env::var(COMPOSE_VARIABLE).unwrap_or_else(|_| COMPOSE_COMMANDS.to_owned());
    let known = commands
        .split(',')
        .map(str::trim)
        .filter(|it| !it.is_empty());
    known
        .filter_map(|command| Some((command.to_owned(), version(command)?)))
        .collect()
}

fn version(command: &str) -> Option<String> {
    let mut words = command.split_whitespace();
    let answer = Command::new(words.next()?)
        .args(words)
        .args(["version", "--short"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    (answer.status.success() && !text.is_empty()).then_some(text)
}

/// Postgres and the store: the images that everybody uses, or stand-ins of our own.
fn foreign(signals: &Signals) -> anyhow::Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    let postgres = match find(&POSTGRES) {
        Some(image) => image,
        None => make(&POSTGRES, signals)?,
    };
    variables.push((POSTGRES.variable.to_owned(), postgres));
    if let Some(image) = find(&GARAGE) {
        variables.push((GARAGE.variable.to_owned(), image));
    } else {
        // An hour of compiling: only by hand, deploy/images/make.sh garage.
        println!("Garage cannot be had; the development store stands in for it");
        variables.push(("QUARTET_STORE".to_owned(), "devstore".to_owned()));
    }
    Ok(variables)
}

fn find(foreign: &Foreign) -> Option<String> {
    let quiet = |arguments: &[&str]| {
        Command::new("docker")
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let is_there = |image: &str| quiet(&["image", "inspect", image]);
    if let Ok(image) = std::env::var(foreign.variable) {
        return Some(image);
    }
    if is_there(foreign.image) {
        return Some(foreign.image.to_owned());
    }
    if is_there(foreign.stand_in) {
        println!("{} stands in for {}", foreign.stand_in, foreign.image);
        return Some(foreign.stand_in.to_owned());
    }
    quiet(&["pull", "--quiet", foreign.image]).then(|| foreign.image.to_owned())
}

fn make(foreign: &Foreign, signals: &Signals) -> anyhow::Result<String> {
    println!(
        "{} cannot be pulled; making {}",
        foreign.image, foreign.stand_in
    );
    let mut script = Command::new(workspace::root().join("deploy/images/make.sh"));
    script.arg(foreign.recipe);
    succeed(script, signals)?;
    Ok(foreign.stand_in.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{GARAGE, POSTGRES, Wanted};
    use quartet_devstack::workspace;

    #[test]
    fn the_images_are_those_of_the_stack() {
        for (file, foreign) in [("stack.yaml", POSTGRES), ("store/garage.yaml", GARAGE)] {
            let path = workspace::root().join("compose").join(file);
            let text = std::fs::read_to_string(path).unwrap();
            let line = format!("image: ${{{}:-{}}}", foreign.variable, foreign.image);
            assert!(text.contains(&line), "{file} has no `{line}`");
        }
    }

    #[test]
    fn words_are_a_tag_and_names_of_tests() {
        let wanted = Wanted::parse(&["--image-tag", "1.2.3", "full_disk"]).unwrap();
        assert_eq!(wanted.tag, Some("1.2.3"));
        assert_eq!(wanted.tests, ["full_disk"]);
        assert!(Wanted::parse(&["--image-tag"]).is_err());
        assert!(Wanted::parse(&["--quick"]).is_err());
    }
}
