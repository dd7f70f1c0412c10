//! A whole stack for the duration of one command: new data, free ports, removed afterwards.

use std::ffi::OsString;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;

use anyhow::Context as _;
use quartet_devstack::stack::{Ports, Setting};
use quartet_devstack::{Options, Postgres, signals};
use tempfile::TempDir;

use crate::cargo::{build_services, command, exit_code, status};
use crate::up::{RunningStack, lock, stack};

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

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if !args.no_build {
        build_services("dev")?;
    }
    let mut settings = args.settings;
    if args.wide_limits {
        settings.extend(Setting::wide_limits()?);
    }
    let live = LiveStack::start(settings)?;
    let (program, arguments) = args.command.split_first().context("no command")?;
    Ok(exit_code(live.run(command(program, arguments))?))
}

/// The running stack. Dropping it stops everything and removes the data.
pub(crate) struct LiveStack {
    // Fields are dropped in this order: the processes before their files.
    running: RunningStack,
    _directory: TempDir,
}

impl LiveStack {
    /// Starts the stack from the binaries that are built.
    pub(crate) fn start(settings: Vec<Setting>) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("quartet-live-").tempdir()?;
        let lock = lock::take(directory.path())?;
        let options = Options {
            cancel: signals::cancel().clone(),
            held: Some(Arc::clone(&lock)),
            ..Options::throw_away()
        };
        let postgres = Postgres::find_or_start(&options)?;
        let mut stack = stack(directory.path(), &postgres, Ports::free()?, false)?;
        stack.settings = settings;
        Ok(Self {
            running: RunningStack::start(stack, postgres, lock)?,
            _directory: directory,
        })
    }

    /// Runs a command that finds the stack by its environment until it ends.
    pub(crate) fn run(&self, mut command: Command) -> anyhow::Result<ExitStatus> {
        let stack = &self.running.stack;
        command.env("QUARTET_URL", stack.public_url()).env(
            "QUARTET_ADMIN_URL",
            format!("http://127.0.0.1:{}", stack.ports.admin),
        );
        status(&mut command)
    }
}
