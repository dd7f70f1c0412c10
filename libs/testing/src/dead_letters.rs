//! The subcommand `dead-letters` of a service.

use std::process::{Command, Output};

use serde_json::Value;

use crate::database::TestDatabase;

/// How to run it: a program, its database and further variables.
#[derive(Debug)]
pub struct DeadLetters<'a> {
    pub program: &'a str,
    pub database: &'a TestDatabase,
    pub environment: &'a [(&'a str, &'a str)],
}

impl DeadLetters<'_> {
    /// Whatever becomes of it.
    ///
    /// # Panics
    /// When the program cannot be run.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.program);
        command.arg("dead-letters").args(arguments).env_clear();
        command.env("DATABASE_URL", self.database.url());
        command.envs(self.environment.iter().copied());
        command.output().expect("the program can be run")
    }

    /// The lines on stdout, and stderr.
    ///
    /// # Panics
    /// When it fails.
    pub fn succeed(&self, arguments: &[&str]) -> (Vec<Value>, String) {
        let output = self.run(arguments);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{err}");
        let lines = String::from_utf8(output.stdout).expect("UTF-8");
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        (lines.collect(), err)
    }
}
