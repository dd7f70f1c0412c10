//! Commands of the Docker engine.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use quartet_devstack::workspace;

/// The Compose command to test; set by `cargo xtask test --compose`.
pub(super) const COMPOSE: &str = "QUARTET_TEST_COMPOSE";

/// Runs `docker` in the root of the repository.
pub(super) fn docker(arguments: &[&str]) -> String {
    let mut command = Command::new("docker");
    command.args(arguments);
    succeed(&mut command)
}

/// A command in the root of the repository, without standard input.
pub(super) fn in_root(program: impl Into<PathBuf>) -> Command {
    let mut command = Command::new(program.into());
    command.current_dir(workspace::root()).stdin(Stdio::null());
    command
}

/// Its output; fails the test if the command fails.
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

/// The log of a container, oldest line first.
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
