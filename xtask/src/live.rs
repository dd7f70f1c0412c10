//! A whole stack for the duration of one command: new data, free ports, removed afterwards.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::Context as _;
use quartet_devstack::stack::{Ports, Setting};
use quartet_devstack::{Options, Postgres};

use crate::cargo::{build_services, exit_code, status};
use crate::signals::Signals;
use crate::up::{Lock, RunningStack, prepare};

const LIMITS: [&str; 5] = ["core", "media", "links", "redirects", "documents"];
/// The budget of each user for GraphQL, as large as its bounds allow.
const GRAPHQL_COSTS: [&str; 2] = [
    "links.graphql.cost_per_second=1000000",
    "links.graphql.cost_burst=100000000",
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A setting, as in docs/config.md
    #[arg(long = "set", value_name = "SERVICE.KEY=VALUE")]
    settings: Vec<Setting>,
    /// Raise the rate limits out of reach
    #[arg(long)]
    wide_limits: bool,
    /// Use the binaries as they are
    #[arg(long)]
    no_build: bool,
    /// The command; it finds the stack by `QUARTET_URL` and `QUARTET_ADMIN_URL`
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(args: Args, signals: &Signals) -> anyhow::Result<ExitCode> {
    if !args.no_build {
        build_services("dev", signals)?;
    }
    let mut settings = args.settings;
    if args.wide_limits {
        settings.extend(wide_limits()?);
    }
    let live = LiveStack::start(settings, signals)?;
    let (program, arguments) = args.command.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(exit_code(live.run(command, signals)?))
}

/// Rate limits that no test reaches.
pub(crate) fn wide_limits() -> anyhow::Result<Vec<Setting>> {
    let mut wide =
        settings(LIMITS.map(|limit| format!("gateway.limits.{limit}.requests=10000000")))?;
    wide.extend(settings(GRAPHQL_COSTS)?);
    Ok(wide)
}

/// Settings written as `SERVICE.KEY=VALUE`.
pub(crate) fn settings<S: AsRef<str>>(
    texts: impl IntoIterator<Item = S>,
) -> anyhow::Result<Vec<Setting>> {
    let settings = texts.into_iter().map(|text| Ok(text.as_ref().parse()?));
    settings.collect()
}

/// The running stack. Dropping it stops everything and removes the data.
pub(crate) struct LiveStack {
    // Fields are dropped in this order: the processes before their files.
    running: RunningStack,
    _directory: Directory,
}

impl LiveStack {
    /// Starts the stack from the binaries that are built.
    pub(crate) fn start(settings: Vec<Setting>, signals: &Signals) -> anyhow::Result<Self> {
        let directory = Directory::new()?;
        let root = &directory.0;
        let lock = Lock::take(root, signals)?;
        let options = Options::throw_away()
            .cancelled_by(signals.cancel())
            .holding(lock.file());
        let postgres = Postgres::find_or_start(&options)?;
        let mut stack = prepare::stack(root, &postgres, Ports::free()?, false)?;
        stack.settings = settings;
        prepare::roles(&stack, &postgres)?;
        let mut running = RunningStack::new(stack, postgres, &lock);
        running.start_all(signals)?;
        Ok(Self {
            running,
            _directory: directory,
        })
    }

    /// The public URL.
    pub(crate) fn url(&self) -> String {
        self.running.stack().public_url()
    }

    /// Runs a command that finds the stack by its environment until it ends.
    pub(crate) fn run(
        &self,
        mut command: Command,
        signals: &Signals,
    ) -> anyhow::Result<ExitStatus> {
        let admin = self.running.stack().ports.admin;
        command
            .env("QUARTET_URL", self.url())
            .env("QUARTET_ADMIN_URL", format!("http://127.0.0.1:{admin}"));
        status(&mut command, signals)
    }
}

/// A directory of this run alone, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("quartet-live-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
