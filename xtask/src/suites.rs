//! Tests and lints that run programs from npm and `PyPI`, as one table. A suite installs what its
//! lock file says and runs its steps as shell commands; all of them, also after one has failed.

use std::env;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Instant;

use anyhow::bail;
use quartet_devstack::workspace;

use crate::cargo::{build_services, cargo, status, succeed};
use crate::live::{self, LiveStack};
use crate::signals::Signals;
use crate::tools;

pub(crate) struct Suite {
    /// Its `package-lock.json` or file of requirements.
    lock: &'static str,
    /// Where its steps run.
    directory: &'static str,
    /// Each with a name.
    steps: &'static [(&'static str, &'static str)],
}

/// The schemas of the files in .github, their expressions and scripts, and what an outsider could
/// do with them.
pub(crate) const WORKFLOWS: Suite = Suite {
    lock: ".github/lint/requirements.txt",
    directory: "",
    steps: &[
        (
            "workflow schemas",
            "check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yaml",
        ),
        (
            "action schemas",
            "check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yaml",
        ),
        (
            "dependabot schema",
            "check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml",
        ),
        ("expressions and scripts", "exec jactionlint"),
        (
            "workflow security",
            "exec zizmor --offline --no-progress --strict-collection .github",
        ),
    ],
};

/// The OpenAPI documents, and their copies in 3.0 as the binaries print them, by the rules of
/// sdk/lint/redocly.yaml; and the rules of `api-diff`.
pub(crate) const SPECIFICATIONS: Suite = Suite {
    lock: "sdk/lint/package-lock.json",
    directory: "",
    steps: &[
        (
            "copies in OpenAPI 3.0",
            "set -e; mkdir -p \"$PROGRAMS\"/openapi-3.0; set --; \
             for service in core media links; do \
             \"$PROGRAMS\"/quartet-$service openapi --version 3.0 \
             > \"$PROGRAMS\"/openapi-3.0/$service.json; \
             set -- \"$@\" $service=services/$service/openapi.json; done; \
             \"$PROGRAMS\"/quartet-gateway openapi --version 3.0 \"$@\" \
             > \"$PROGRAMS\"/openapi-3.0/gateway.json",
        ),
        (
            "OpenAPI documents",
            "exec env REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true redocly lint \
             --config sdk/lint/redocly.yaml --format stylish \
             services/*/openapi.json \"$PROGRAMS\"/openapi-3.0/*.json",
        ),
        (
            "rules for GraphQL",
            "exec node --test --test-reporter=dot sdk/lint/graphql-diff.test.mjs",
        ),
    ],
};

/// The client libraries. Those of the Rust client are ordinary tests of the workspace.
const CLIENTS: [Suite; 2] = [
    Suite {
        lock: "sdk/typescript/package-lock.json",
        directory: "sdk/typescript",
        steps: &[("TypeScript client", "exec npm test --silent")],
    },
    Suite {
        lock: "sdk/python/requirements-dev.txt",
        directory: "sdk/python",
        steps: &[(
            "Python client",
            "python -m ruff check --quiet && python -m mypy && exec python -m pytest --quiet",
        )],
    },
];

/// Whether the running stack keeps what its documents promise.
const CONFORMANCE: Suite = Suite {
    lock: "sdk/conformance/requirements.txt",
    directory: "sdk/conformance",
    steps: &[
        (
            "OpenAPI 3.1",
            "exec schemathesis --no-color run $QUARTET_URL/openapi.json --url $QUARTET_URL \
             --seed $SEED --max-time $((TIME * 60 / 100))",
        ),
        (
            "OpenAPI 3.0.3",
            "exec schemathesis --no-color run $QUARTET_URL/openapi-3.0.json --url $QUARTET_URL \
             --seed $SEED --max-time $((TIME * 15 / 100 + 1)) --phases examples,coverage",
        ),
        (
            "GraphQL",
            "exec schemathesis --no-color run ../../services/links/schema.graphql \
             --url $QUARTET_URL/v1/links/graphql --seed $SEED --max-time $((TIME * 25 / 100 + 1))",
        ),
        (
            "documentation page and generators",
            "exec python -m pytest -q -rs --tb=short -p no:cacheprovider tests",
        ),
    ],
};

/// Short enough that tokens and signed URLs expire while the clients are tested.
const SHORT_LIFETIMES: [&str; 2] = [
    "core.sessions.access_token_ttl_seconds=3",
    "media.uploads.ttl_seconds=6",
];
/// Generated requests consist of wrong passwords, and the throttle would reject everything else.
const NO_THROTTLE: [&str; 2] = [
    "core.throttle.account_free_failures=1000000",
    "core.throttle.address_free_failures=1000000",
];

pub(crate) fn clients(signals: &Signals) -> anyhow::Result<()> {
    let mut settings = live::wide_limits()?;
    settings.extend(live::settings(SHORT_LIFETIMES)?);
    let live = LiveStack::start(settings, signals)?;
    run(&CLIENTS, |command| live.run(command, signals), signals)
}

pub(crate) fn conformance(seed: u32, seconds: u32, signals: &Signals) -> anyhow::Result<()> {
    println!("Building");
    build_services("dev", signals)?;
    println!("== HTTP of the gateway");
    let tests = [
        "test",
        "--package",
        "quartet-gateway",
        "--test",
        "it",
        "--test",
        "direct",
    ];
    let mut command = cargo(tests);
    command.arg("conformance");
    succeed(command, signals)?;
    let mut settings = live::wide_limits()?;
    settings.extend(live::settings(NO_THROTTLE)?);
    let live = LiveStack::start(settings, signals)?;
    println!("Seed {seed}");
    let start = |mut command: Command| {
        command
            .env("SEED", seed.to_string())
            .env("TIME", seconds.to_string())
            .env("PYTHONPATH", ".")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        live.run(command, signals)
    };
    run(&[CONFORMANCE], start, signals)
}

/// Runs a suite that needs no stack; it finds our own programs in `$PROGRAMS`.
pub(crate) fn check(suite: Suite, signals: &Signals) -> anyhow::Result<()> {
    let programs = workspace::profile_dir()?;
    let start = |mut command: Command| status(command.env("PROGRAMS", &programs), signals);
    run(&[suite], start, signals)
}

fn run(
    suites: &[Suite],
    mut start: impl FnMut(Command) -> anyhow::Result<ExitStatus>,
    signals: &Signals,
) -> anyhow::Result<()> {
    let root = workspace::root();
    let mut failed = Vec::new();
    for suite in suites {
        let programs = tools::install(&root.join(suite.lock), signals)?;
        for (name, line) in suite.steps {
            println!("== {name}");
            let begin = Instant::now();
            if !start(shell(line, &root.join(suite.directory), &programs)?)?.success() {
                failed.push(*name);
            }
            println!("== {name}: {} s", begin.elapsed().as_secs());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("failed: {}", failed.join(", "))
}

/// A line for the shell, which finds the installed programs first.
pub(crate) fn shell(line: &str, directory: &Path, programs: &Path) -> anyhow::Result<Command> {
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(
        [programs.to_path_buf()]
            .into_iter()
            .chain(env::split_paths(&path)),
    )?;
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .env("PATH", path)
        .current_dir(directory);
    Ok(command)
}
