//! The Docker engine and Compose, as somebody types them.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use quartet_devstack::workspace;

/// Says which Compose is tried, in words; `cargo xtask test --compose` sets it.
pub(super) const COMPOSE: &str = "QUARTET_TEST_COMPOSE";

/// A client of the engine in the repository's root.
pub(super) fn docker(arguments: &[&str]) -> String {
    let mut command = Command::new("docker");
    command.args(arguments);
    succeed(&mut command)
}

/// A command in the repository's root that reads nothing.
pub(super) fn in_root(program: impl Into<PathBuf>) -> Command {
    let mut command = Command::new(program.into());
    command.current_dir(workspace::root()).stdin(Stdio::null());
    command
}

/// What it printed; fails the test when it failed.
pub(super) fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(super) fn run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a container has said so far, oldest first.
pub(super) fn logs(container: &str) -> String {
    let output = run(Command::new("docker").args(["logs", container]));
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// `running healthy`, `exited`, `restarting unhealthy`...
pub(super) fn state(container: &str) -> String {
    let format = "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}";
    docker(&["inspect", "--format", format, container])
}

pub(super) fn restarts(container: &str) -> u32 {
    docker(&["inspect", "--format", "{{.RestartCount}}", container])
        .parse()
        .unwrap()
}
