//! `cargo xtask`: the commands of a developer. `cargo xtask --help` lists them.

mod affected;
mod api_diff;
mod bench;
mod cargo;
mod check;
mod clients;
mod compose;
mod conformance;
mod contract;
mod db;
mod generate;
mod git;
mod image;
mod lint;
mod live;
mod metadata;
mod release;
mod sbom;
mod signals;
mod test;
mod tools;
mod up;
mod workflows;

use std::env;
use std::process::ExitCode;

use signals::Signals;

const HELP: &str = "\
cargo xtask COMMAND

  up [--fresh] [--release]   build and start everything; Ctrl-C stops it
                             --fresh    first remove all data in .quartet
                             --release  optimised binaries
                             DATABASE_URL, if set, names the Postgres to use
  test [ARGUMENTS]           every test, with what it needs started and stopped;
                             arguments go to the test runner: `-p quartet-core`, a name
  test --clients             the TypeScript and Python clients against a live stack, in
                             Node.js, Python and headless Chromium
  test --compose [--image-tag TAG] [NAMES]
                             the composed stack on a Docker engine: a journey, kills, rolls,
                             wrong settings; left out where there is no engine
                             --image-tag  images that are there, instead of building some
                             QUARTET_COMPOSE names the Compose commands to try
  test --conformance [--seed N] [--seconds N]
                             thousands of generated requests against a live stack, the
                             documentation page in a browser, clients in other languages
  e2e [ARGUMENTS]            only the end-to-end tests
  gen [--check]              write the generated files anew; --check: fail if one is stale
  check [workflows]          formatting, lints, generated files; or only the workflows
  bench [NAMES]              the benchmarks, with optimised binaries
  live [OPTIONS] -- COMMAND  start a throw-away stack on free ports, run COMMAND with its
                             address in QUARTET_URL, stop everything
                             --set SERVICE.KEY=VALUE  a setting, as in docs/config.md
                             --wide-limits            rate limits out of the way
                             --no-build               the binaries as they are
  image [OPTIONS] [BINARIES] [-- ARGUMENTS]
                             container images quartet/core:dev and so on, static and small;
                             arguments go to `docker build`
                             --profile dist|release|dev   how it is compiled; dist is usual
                             --tag TAG                    instead of `dev`
                             --from-source                compile inside the builder image
  api-diff [SERVICE] [--against REF] [--all] [--allow-breaking]
                             what of the published interfaces has changed since the last
                             release; fails when clients that work today would break
  affected --since REF [--json]
                             the services that differ from REF, and why
  contract SERVICE [--previous REF] [--step baseline|binary|schema] [-- TESTS]
                             the end-to-end tests of the last release (or REF) with today's
                             SERVICE, and with its own SERVICE on today's schema
  release SERVICE VERSION [--check]
                             make the tree a release of one service: version, change notes,
                             generated files; --check: is it one? prints its notes
  sbom SERVICE --output FILE what its binary is made of (CycloneDX)
  db                         only the development Postgres, with roles and schemas
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[&str]) -> anyhow::Result<ExitCode> {
    let Some((&command, rest)) = words.split_first() else {
        eprint!("{HELP}");
        return Ok(ExitCode::from(2));
    };
    if command == "help" || command == "--help" || rest.first() == Some(&"--help") {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    let signals = Signals::install()?;
    let outcome = match command {
        "up" => up::run(rest, &signals),
        "test" if rest == ["--clients"] => clients::run(&signals),
        "test" if rest.first() == Some(&"--compose") => compose::run(&rest[1..], &signals),
        "test" if rest.first() == Some(&"--conformance") => conformance::run(&rest[1..], &signals),
        "test" => test::run(rest, &signals),
        "e2e" => test::end_to_end(rest, &signals),
        "gen" => generate::run(rest, &signals),
        "check" => check::run(rest, &signals),
        "live" => live::run(rest, &signals),
        "bench" => bench::run(rest, &signals),
        "image" => image::run(rest, &signals),
        "affected" => affected::run(rest),
        "api-diff" => api_diff::run(rest),
        "contract" => contract::run(rest, &signals),
        "release" => release::run(rest, &signals),
        "sbom" => sbom::run(rest),
        "db" => db::run(rest, &signals),
        other => anyhow::bail!("there is no command `{other}`; `cargo xtask --help` lists them"),
    };
    match outcome {
        // Ctrl-C is no error, but no success either.
        Err(_) if signals.received() => Ok(ExitCode::from(130)),
        other => other,
    }
}

/// Fails on arguments that a command does not know.
fn refuse_unknown(words: &[&str], known: &[&str]) -> anyhow::Result<()> {
    match words.iter().find(|word| !known.contains(word)) {
        Some(word) => anyhow::bail!("`{word}` is not known here; see `cargo xtask --help`"),
        None => Ok(()),
    }
}
