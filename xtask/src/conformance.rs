//! Whether the running stack keeps what its documents promise: thousands of generated requests,
//! the documentation page in a browser, and clients generated in other languages.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use quartet_devstack::workspace;

use crate::cargo::build_parts;
use crate::live::{Live, wide_limits};
use crate::signals::Signals;
use crate::tools;

const DEFAULT_SEED: u32 = 1;
/// What the generated requests may take together. The rest needs about a minute more.
const DEFAULT_SECONDS: u32 = 240;
/// Wrong passwords are what is generated, and pauses would keep everything else out.
const NO_PAUSES: [&str; 2] = [
    "core.throttle.account_free_failures=1000000",
    "core.throttle.address_free_failures=1000000",
];

/// One run of the generator: its name, the document, its share of the time in percent, options.
const RUNS: [(&str, &str, u32, &[&str]); 3] = [
    ("OpenAPI 3.1", "/openapi.json", 60, &[]),
    (
        "OpenAPI 3.0.3",
        "/openapi-3.0.json",
        15,
        &["--phases", "examples,coverage"],
    ),
    ("GraphQL", "services/links/schema.graphql", 25, &[]),
];
const GRAPHQL_PATH: &str = "/v1/links/graphql";

pub(crate) fn run(words: &[&str], signals: &Signals) -> anyhow::Result<ExitCode> {
    let wanted = Wanted::parse(words)?;
    let directory = workspace::root().join("sdk/conformance");
    println!("Building");
    build_parts(false, signals)?;
    let programs = tools::python(&directory.join("requirements.txt"), signals)?;
    let mut settings = wide_limits().collect::<Vec<_>>();
    for setting in NO_PAUSES {
        settings.push(setting.parse()?);
    }
    let live = Live::start(settings, signals)?;
    let suite = Suite {
        directory: &directory,
        programs,
        url: live.url(),
    };
    let mut steps: Vec<(&str, Command)> = RUNS
        .iter()
        .map(|run| (run.0, suite.generated(*run, &wanted)))
        .collect();
    steps.push(("Documentation page and generators", suite.tests()));
    let mut failed = Vec::new();
    for (name, command) in steps {
        let begin = Instant::now();
        println!("\n== {name}");
        if !live.run(command, signals)?.success() {
            failed.push(name);
        }
        println!("== {name}: {} s", begin.elapsed().as_secs());
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("findings: {} (seed {})", failed.join(", "), wanted.seed)
}

struct Suite<'a> {
    directory: &'a Path,
    programs: PathBuf,
    url: String,
}

impl Suite<'_> {
    fn generated(
        &self,
        (_, document, percent, options): (&str, &str, u32, &[&str]),
        wanted: &Wanted,
    ) -> Command {
        let seconds = (wanted.seconds * percent / 100).max(1);
        let (document, url) = if document.starts_with('/') {
            (format!("{}{document}", self.url), self.url.clone())
        } else {
            let file = workspace::root().join(document);
            (
                file.display().to_string(),
                format!("{}{GRAPHQL_PATH}", self.url),
            )
        };
        let mut command = self.command("schemathesis");
        command
            .args(["--no-color", "run", &document, "--url", &url])
            .args(["--seed", &wanted.seed.to_string()])
            .args(["--max-time", &seconds.to_string()])
            .args(options);
        command
    }

    fn tests(&self) -> Command {
        let mut command = self.command("python");
        command.args(["-m", "pytest", "-q", "-rs", "--tb=short"]);
        command.args(["-p", "no:cacheprovider", "tests"]);
        command
    }

    /// A program of the suite, which reads its settings and modules where it runs.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .current_dir(self.directory)
            .env("PYTHONPATH", self.directory)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

struct Wanted {
    seed: u32,
    seconds: u32,
}

impl Wanted {
    fn parse(words: &[&str]) -> anyhow::Result<Self> {
        let mut wanted = Self {
            seed: DEFAULT_SEED,
            seconds: DEFAULT_SECONDS,
        };
        let (pairs, rest) = words.as_chunks::<2>();
        ensure!(rest.is_empty(), "`{}` wants a number", rest[0]);
        for [name, number] in pairs {
            let number = number
                .parse()
                .with_context(|| format!("`{name} {number}`"))?;
            match *name {
                "--seed" => wanted.seed = number,
                "--seconds" => wanted.seconds = number,
                other => bail!("`{other}` is not known here; see `cargo xtask --help`"),
            }
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_SECONDS, Wanted};

    #[test]
    fn the_seed_is_the_same_unless_another_is_wanted() {
        let seed = |words: &[&str]| Wanted::parse(words).unwrap().seed;
        assert_eq!(seed(&[]), seed(&[]));
        assert_eq!(seed(&["--seed", "7"]), 7);
        let wanted = Wanted::parse(&["--seconds", "60", "--seed", "7"]).unwrap();
        assert_eq!((wanted.seed, wanted.seconds), (7, 60));
        assert_eq!(Wanted::parse(&[]).unwrap().seconds, DEFAULT_SECONDS);
    }

    #[test]
    fn tells_what_is_wrong() {
        let fails = |words: &[&str]| Wanted::parse(words).err().unwrap().to_string();
        assert!(fails(&["--seed"]).contains("`--seed` wants a number"));
        assert!(fails(&["--seed", "x"]).contains("`--seed x`"));
        assert!(fails(&["--sed", "1"]).contains("not known"));
    }
}
