//! `cargo xtask test --compose`: the composed stack on a real engine, with every Compose found.

use std::process::{Command, Stdio};

use quartet_devstack::workspace;

use crate::cargo::{cargo, output, succeed};
use crate::image;
use crate::signals::Signals;

/// Names the Compose commands to try, separated by commas.
const COMPOSE_VARIABLE: &str = "QUARTET_COMPOSE";
/// Passes one of them to the tests; see tests/it/compose.
const TEST_VARIABLE: &str = "QUARTET_TEST_COMPOSE";
const COMPOSE_COMMANDS: &str = "docker compose,docker-compose";
const SERVICES: [&str; 5] = ["core", "media", "links", "gateway", "devstore"];

/// A third-party image: how stack.yaml names it, and what replaces it where nothing can be pulled.
struct ThirdParty {
    variable: &'static str,
    image: &'static str,
    substitute: &'static str,
}

const POSTGRES: ThirdParty = ThirdParty {
    variable: "QUARTET_POSTGRES_IMAGE",
    image: "postgres:17",
    substitute: "quartet/local-postgres:15",
};
const GARAGE: ThirdParty = ThirdParty {
    variable: "QUARTET_GARAGE_IMAGE",
    image: "dxflrs/garage:v2.5.0",
    substitute: "quartet/local-garage:2.5.0",
};

/// Runs the tests whose names contain one of `tests`, or all of them, with the images of a tag, or
/// with new ones.
pub(crate) fn run(tag: Option<&str>, tests: &[String], signals: &Signals) -> anyhow::Result<()> {
    let server = ["version", "--format", "{{.Server.Version}}"];
    if let Err(reason) = output(Command::new("docker").args(server)) {
        println!("Skipped: the composed stack needs a Docker engine: {reason:#}");
        return Ok(());
    }
    let composers = composers();
    if composers.is_empty() {
        println!("Skipped: there is an engine but no Compose ({COMPOSE_COMMANDS})");
        return Ok(());
    }
    let mut variables = third_party(signals)?;
    let tag = if let Some(tag) = tag {
        tag
    } else {
        image::build_all("compose-test", signals)?;
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
        let mut command = cargo(["test", "--package", "quartet-e2e", "--test", "it", "--"]);
        command
            .args(["--ignored", "--nocapture", "--test-threads=1"])
            .env(TEST_VARIABLE, composer)
            .envs(variables.iter().map(|(name, value)| (name, value)));
        if tests.is_empty() {
            command.arg("compose::");
        } else {
            command.args(tests);
        }
        succeed(command, signals)?;
    }
    Ok(())
}

/// The Compose commands that work, each with its version.
fn composers() -> Vec<(String, String)> {
    let commands = std::env::var(COMPOSE_VARIABLE).unwrap_or_else(|_| COMPOSE_COMMANDS.to_owned());
    let version = |command: &str| {
        let mut words = command.split_whitespace();
        let mut ask = Command::new(words.next()?);
        output(ask.args(words).args(["version", "--short"])).ok()
    };
    let commands = commands.split(',').map(str::trim);
    commands
        .filter_map(|command| Some((command.to_owned(), version(command)?)))
        .collect()
}

/// The variables that name the images of Postgres and the object store.
fn third_party(signals: &Signals) -> anyhow::Result<Vec<(String, String)>> {
    let postgres = if let Some(image) = find(&POSTGRES) {
        image
    } else {
        let (image, substitute) = (POSTGRES.image, POSTGRES.substitute);
        println!("{image} cannot be pulled; building {substitute}");
        let mut script = Command::new(workspace::root().join("deploy/images/make.sh"));
        script.arg("postgres");
        succeed(script, signals)?;
        substitute.to_owned()
    };
    let mut variables = vec![(POSTGRES.variable.to_owned(), postgres)];
    if let Some(image) = find(&GARAGE) {
        variables.push((GARAGE.variable.to_owned(), image));
    } else {
        // Compiling it takes an hour: only by hand, deploy/images/make.sh garage.
        println!("Garage is not available; the development store replaces it");
        variables.push(("QUARTET_STORE".to_owned(), "devstore".to_owned()));
    }
    Ok(variables)
}

fn find(wanted: &ThirdParty) -> Option<String> {
    let works = |arguments: &[&str]| {
        let mut docker = Command::new("docker");
        docker
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        docker.status().is_ok_and(|status| status.success())
    };
    if let Ok(image) = std::env::var(wanted.variable) {
        return Some(image);
    }
    let local = [wanted.image, wanted.substitute];
    if let Some(image) = local
        .into_iter()
        .find(|image| works(&["image", "inspect", image]))
    {
        return Some(image.to_owned());
    }
    works(&["pull", "--quiet", wanted.image]).then(|| wanted.image.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{GARAGE, POSTGRES};
    use quartet_devstack::workspace;

    #[test]
    fn the_images_are_those_of_the_stack() {
        for (file, wanted) in [("stack.yaml", POSTGRES), ("store/garage.yaml", GARAGE)] {
            let path = workspace::root().join("compose").join(file);
            let text = std::fs::read_to_string(path).unwrap();
            let line = format!("image: ${{{}:-{}}}", wanted.variable, wanted.image);
            assert!(text.contains(&line), "{file} has no `{line}`");
        }
    }
}
