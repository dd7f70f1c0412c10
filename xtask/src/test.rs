//! Running the tests with everything that they need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;
use quartet_devstack::{Options, Postgres, workspace};

use crate::cargo::{build_for_tests, cargo, status, succeed};
use crate::signals::Signals;

const DATABASE_VARIABLE: &str = "QUARTET_TEST_DATABASE_URL";

/// Every test there is; arguments go to the runner.
pub(crate) fn run(words: &[&str], signals: &Signals) -> anyhow::Result<ExitCode> {
    let words = words.strip_prefix(&["--"]).unwrap_or(words);
    let some_packages = names_packages(words);
    if !some_packages {
        println!("Building");
        build_for_tests(signals)?;
    }
    let nextest = has_nextest();
    let environment = Environment::start(signals)?;
    if nextest && words.is_empty() {
        // nextest runs no documentation tests; first, so that its summary comes last.
        for package in packages_with_doc_tests(&workspace::root())? {
            let doc_tests = cargo(["test", "--doc", "--package", &package]);
            succeed(environment.apply(doc_tests), signals)?;
        }
    }
    let mut command = if nextest {
        cargo(["nextest", "run"])
    } else {
        cargo(["test"])
    };
    if !some_packages {
        command.arg("--workspace");
    }
    command.args(words);
    finish(command, environment, signals)
}

/// Only the end-to-end tests.
pub(crate) fn end_to_end(words: &[&str], signals: &Signals) -> anyhow::Result<ExitCode> {
    println!("Building");
    build_for_tests(signals)?;
    let environment = Environment::start(signals)?;
    let mut command = if has_nextest() {
        cargo(["nextest", "run"])
    } else {
        cargo(["test"])
    };
    command.args(["--package", "quartet-e2e"]).args(words);
    finish(command, environment, signals)
}

/// The runner's own summary stays the last that is printed.
fn finish(
    command: Command,
    environment: Environment,
    signals: &Signals,
) -> anyhow::Result<ExitCode> {
    let mut command = environment.apply(command);
    let status = status(&mut command, signals)?;
    drop(environment);
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// What tests find running.
pub(crate) struct Environment {
    /// Stops when it is dropped; none when the caller named a server.
    postgres: Option<Postgres>,
}

impl Environment {
    pub(crate) fn start(signals: &Signals) -> anyhow::Result<Self> {
        if std::env::var_os(DATABASE_VARIABLE).is_some() {
            println!("Postgres: using {DATABASE_VARIABLE}");
            return Ok(Self { postgres: None });
        }
        let options = Options::throw_away()
            .saying(|line| println!("{line}"))
            .cancelled_by(signals.cancel());
        let postgres = Postgres::find_or_start(&options)?;
        Ok(Self {
            postgres: Some(postgres),
        })
    }

    pub(crate) fn apply(&self, mut command: Command) -> Command {
        if let Some(postgres) = &self.postgres {
            command.env(DATABASE_VARIABLE, postgres.admin_url().reveal());
        }
        // A developer's own settings must not decide what the tests say.
        command.env_remove("DATABASE_URL");
        command
    }
}

fn has_nextest() -> bool {
    cargo(["nextest", "--version"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

fn names_packages(words: &[&str]) -> bool {
    words
        .iter()
        .any(|word| word.starts_with("-p") || word.starts_with("--package"))
}

/// Packages with a library that has examples in its documentation.
fn packages_with_doc_tests(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut packages = Vec::new();
    for group in ["libs", "sdk", "services"] {
        for directory in sorted(&root.join(group))? {
            if directory.join("src/lib.rs").is_file() && any_example(&directory.join("src"))? {
                packages.push(package_name(&directory)?);
            }
        }
    }
    Ok(packages)
}

fn any_example(directory: &Path) -> anyhow::Result<bool> {
    for path in sorted(directory)? {
        let found = if path.is_dir() {
            any_example(&path)?
        } else {
            path.extension().is_some_and(|it| it == "rs")
                && has_example(&fs::read_to_string(&path)?)
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a documentation comment holds a fenced block that rustdoc would run.
fn has_example(source: &str) -> bool {
    let fences = source.lines().filter_map(|line| {
        let line = line.trim_start();
        let text = line
            .strip_prefix("///")
            .or_else(|| line.strip_prefix("//!"))?;
        text.trim_start().strip_prefix("```")
    });
    // Every second fence closes a block.
    fences.step_by(2).any(|language| {
        language
            .split(',')
            .all(|word| matches!(word.trim(), "" | "rust" | "no_run" | "should_panic"))
    })
}

fn package_name(directory: &Path) -> anyhow::Result<String> {
    let manifest = fs::read_to_string(directory.join("Cargo.toml"))?;
    manifest
        .lines()
        .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .map(str::to_owned)
        .with_context(|| format!("{} names no package", directory.display()))
}

fn sorted(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(directory)
        .with_context(|| format!("read {}", directory.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::{has_example, names_packages};

    #[test]
    fn knows_examples_from_other_blocks() {
        assert!(has_example("/// ```\n/// let a = 1;\n/// ```\n"));
        assert!(has_example("//! ```no_run\n//! run();\n//! ```\n"));
        assert!(!has_example("/// ```text\n/// a -> b\n/// ```\n"));
        assert!(!has_example("let fence = \"```\";\n"));
    }

    #[test]
    fn knows_arguments_that_name_packages() {
        assert!(names_packages(&["-p", "quartet-core"]));
        assert!(names_packages(&["--package=quartet-core"]));
        assert!(!names_packages(&["sessions", "--no-fail-fast"]));
    }
}
