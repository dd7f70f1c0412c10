//! `cargo xtask test --compose`: the composed stack on a real engine, with every Compose found.

use quartet_devstack::workspace;

use crate::cargo::{cargo, command, output, succeed};
use crate::image;

/// Names the Compose commands to try, separated by commas.
const COMPOSE_VARIABLE: &str = "QUARTET_COMPOSE";
/// Passes one of them to the tests; see tests/it/compose.
const TEST_VARIABLE: &str = "QUARTET_TEST_COMPOSE";
const COMPOSE_COMMANDS: &str = "docker compose,docker-compose";
const SERVICES: [&str; 5] = ["CORE", "MEDIA", "LINKS", "GATEWAY", "DEVSTORE"];

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
pub(crate) fn run(tag: Option<&str>, tests: &[String]) -> anyhow::Result<()> {
    if let Err(reason) = docker(&["version", "--format", "{{.Server.Version}}"]) {
        println!("Skipped: the composed stack needs a Docker engine: {reason:#}");
        return Ok(());
    }
    let composers = composers();
    if composers.is_empty() {
        println!("Skipped: there is an engine but no Compose ({COMPOSE_COMMANDS})");
        return Ok(());
    }
    let mut variables = third_party()?;
    if tag.is_none() {
        image::build_all("compose-test")?;
    }
    let tag = tag.unwrap_or("compose-test");
    variables.extend(SERVICES.map(|service| (format!("QUARTET_{service}_TAG"), tag.to_owned())));
    for (composer, version) in composers {
        println!("With `{composer}` {version}");
        let mut command = cargo(["test", "--package", "quartet-e2e", "--test", "it", "--"]);
        command
            .args(["--ignored", "--nocapture", "--test-threads=1"])
            .args(tests)
            .args(tests.is_empty().then_some("compose::"))
            .env(TEST_VARIABLE, composer)
            .envs(variables.clone());
        succeed(command)?;
    }
    Ok(())
}

fn docker(words: &[&str]) -> anyhow::Result<String> {
    output(&mut command("docker", words))
}

/// The Compose commands that work, each with its version.
fn composers() -> Vec<(String, String)> {
    let commands = std::env::var(COMPOSE_VARIABLE).unwrap_or_else(|_| COMPOSE_COMMANDS.to_owned());
    let version = |composer: &str| {
        let mut words = composer.split_whitespace();
        let mut ask = command(words.next()?, words);
        output(ask.args(["version", "--short"])).ok()
    };
    let commands = commands.split(',').map(str::trim);
    commands
        .filter_map(|command| Some((command.to_owned(), version(command)?)))
        .collect()
}

/// The variables that name the images of Postgres and the object store.
fn third_party() -> anyhow::Result<Vec<(String, String)>> {
    let postgres = if let Some(image) = find(&POSTGRES) {
        image
    } else {
        let (image, substitute) = (POSTGRES.image, POSTGRES.substitute);
        println!("{image} cannot be pulled; building {substitute}");
        let script = workspace::root().join("deploy/images/make.sh");
        succeed(command(script, ["postgres"]))?;
        substitute.to_owned()
    };
    let store = if let Some(image) = find(&GARAGE) {
        (GARAGE.variable.to_owned(), image)
    } else {
        // Compiling it takes an hour: only by hand, deploy/images/make.sh garage.
        println!("Garage is not available; the development store replaces it");
        ("QUARTET_STORE".to_owned(), "devstore".to_owned())
    };
    Ok(vec![(POSTGRES.variable.to_owned(), postgres), store])
}

fn find(wanted: &ThirdParty) -> Option<String> {
    if let Ok(image) = std::env::var(wanted.variable) {
        return Some(image);
    }
    let mut local = [wanted.image, wanted.substitute].into_iter();
    let found = local.find(|image| docker(&["image", "inspect", image]).is_ok());
    let pulled = || {
        docker(&["pull", "--quiet", wanted.image])
            .ok()
            .map(|_| wanted.image)
    };
    found.or_else(pulled).map(str::to_owned)
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
