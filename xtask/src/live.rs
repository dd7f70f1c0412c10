//! A whole Quartet for the length of one command: new data, free ports, gone afterwards.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context as _, bail};
use quartet_devstack::stack::{Ports, Setting};
use quartet_devstack::{Options, Postgres};

use crate::cargo::{build_parts, status};
use crate::signals::Signals;
use crate::up::{Lock, Running, prepare};

const LIMITS: [&str; 5] = ["core", "media", "links", "redirects", "documents"];

pub(crate) fn run(words: &[&str], signals: &Signals) -> anyhow::Result<ExitCode> {
    let wanted = Wanted::parse(words)?;
    if wanted.build {
        build_parts(false, signals)?;
    }
    let live = Live::start(wanted.settings, signals)?;
    let mut command = Command::new(wanted.program);
    command.args(wanted.arguments);
    let status = live.run(command, signals)?;
    Ok(exit_code(status))
}

/// The exit code of a command that was run for somebody else.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Rate limits that no test reaches.
pub(crate) fn wide_limits() -> impl Iterator<Item = Setting> {
    LIMITS.into_iter().map(|limit| {
        format!("gateway.limits.{limit}.requests=10000000")
            .parse()
            .expect("a setting of the gateway")
    })
}

/// The running stack; everything stops and goes when it is dropped.
pub(crate) struct Live {
    // Fields are dropped in this order: the processes before their files.
    running: Running,
    _directory: Directory,
}

impl Live {
    /// Starts everything from the binaries that are built.
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
        let mut running = Running::new(stack, postgres, &lock);
        running.start_all(signals)?;
        Ok(Self {
            running,
            _directory: directory,
        })
    }

    /// The public address.
    pub(crate) fn url(&self) -> String {
        self.running.stack().public_url()
    }

    /// Runs a command that finds the stack by its environment, to its end.
    pub(crate) fn run(&self, command: Command, signals: &Signals) -> anyhow::Result<ExitStatus> {
        let mut command = self.environment(command);
        status(&mut command, signals)
    }

    /// Tells a command where the stack is.
    pub(crate) fn environment(&self, mut command: Command) -> Command {
        let stack = self.running.stack();
        let admin = format!("http://127.0.0.1:{}", stack.ports.admin);
        command
            .env("QUARTET_URL", stack.public_url())
            .env("QUARTET_ADMIN_URL", admin);
        command
    }
}

struct Wanted<'a> {
    settings: Vec<Setting>,
    build: bool,
    program: &'a OsStr,
    arguments: &'a [&'a str],
}

impl<'a> Wanted<'a> {
    fn parse(words: &'a [&'a str]) -> anyhow::Result<Self> {
        let end = words.iter().position(|&word| word == "--");
        let (options, command) = words.split_at(end.unwrap_or(words.len()));
        let [_, program, arguments @ ..] = command else {
            bail!("a command is missing: `cargo xtask live -- COMMAND`");
        };
        let mut wanted = Self {
            settings: Vec::new(),
            build: true,
            program: OsStr::new(*program),
            arguments,
        };
        let mut options = options.iter();
        while let Some(&option) = options.next() {
            match option {
                "--wide-limits" => wanted.settings.extend(wide_limits()),
                "--no-build" => wanted.build = false,
                "--set" => {
                    let text = options.next().context("--set wants SERVICE.KEY=VALUE")?;
                    wanted.settings.push(text.parse()?);
                }
                other => bail!("`{other}` is not known here; see `cargo xtask --help`"),
            }
        }
        Ok(wanted)
    }
}

/// A directory of this run alone, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("quartet-live-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::Wanted;

    #[test]
    fn options_come_before_the_command_and_stay_out_of_it() {
        let words = ["--set", "core.a.b=3", "--no-build", "--", "npm", "--set"];
        let wanted = Wanted::parse(&words).unwrap();
        assert_eq!(wanted.settings.len(), 1);
        assert!(!wanted.build);
        assert_eq!(wanted.program, "npm");
        assert_eq!(wanted.arguments, ["--set"]);
    }

    #[test]
    fn tells_what_is_wrong() {
        let fails = |words: &[&str]| Wanted::parse(words).err().unwrap().to_string();
        assert!(fails(&["npm"]).contains("a command is missing"));
        assert!(fails(&["--set", "core=3", "--", "npm"]).contains("SERVICE.KEY=VALUE"));
        assert!(fails(&["--set", "cor.a=3", "--", "npm"]).contains("none of gateway, core"));
        assert!(fails(&["--st", "--", "npm"]).contains("`--st` is not known"));
    }
}
