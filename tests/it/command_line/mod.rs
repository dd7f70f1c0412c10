//! The command line `quartet` against a real Quartet: in a pipe and on a terminal.

mod pipe;
mod terminal;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use quartet_devstack::workspace;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::harness::secrets::Secrets;
use crate::harness::{Stack, sdk};

/// A user of the command line, with a home directory of their own.
struct Shell {
    home: TempDir,
    url: String,
    secrets: Secrets,
    email: String,
    password: String,
    /// All output so far.
    printed: Mutex<String>,
}

/// The result of a command.
#[derive(Debug)]
struct CommandOutput {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Shell {
    fn new(stack: &Stack) -> Self {
        let (email, password) = sdk::credentials(&stack.secrets);
        Self {
            home: tempfile::tempdir().unwrap(),
            url: format!("http://{}", stack.gateway()),
            secrets: stack.secrets.clone(),
            email,
            password,
            printed: Mutex::default(),
        }
    }

    /// The same with an account and a session.
    fn signed_up(stack: &Stack) -> Self {
        let shell = Self::new(stack);
        let done = shell.run_with(&["signup", &shell.email], &shell.password);
        done.expect(0);
        shell
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(workspace::binary("quartet").unwrap());
        command
            .args(words)
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path().join("config"))
            .env("TERM", "xterm-256color")
            .env("QUARTET_URL", &self.url);
        command
    }

    fn run(&self, words: &[&str]) -> CommandOutput {
        self.run_with(words, "")
    }

    /// The same with a line on standard input.
    fn run_with(&self, words: &[&str], input: &str) -> CommandOutput {
        self.finish(self.command(words), input)
    }

    fn finish(&self, mut command: Command, input: &str) -> CommandOutput {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that needs no input may have ended already.
        let _ = writeln!(child.stdin.take().unwrap(), "{input}");
        let output = block_in_place(|| child.wait_with_output()).unwrap();
        let done = CommandOutput {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        self.note(&done.stdout);
        self.note(&done.stderr);
        done
    }

    fn note(&self, printed: &str) {
        self.printed.lock().unwrap().push_str(printed);
        self.record_tokens();
    }

    fn session_file(&self) -> PathBuf {
        self.home.path().join("config/quartet/session.json")
    }

    /// Adds the tokens of the session file to the secrets.
    fn record_tokens(&self) {
        let Ok(text) = std::fs::read(self.session_file()) else {
            return;
        };
        let kept: Value = serde_json::from_slice(&text).unwrap();
        for name in ["access_token", "refresh_token"] {
            self.secrets.add(kept["session"][name].as_str().unwrap());
        }
    }

    /// Fails the test if a secret or an escape sequence was printed.
    fn expect_no_secrets(&self) {
        let printed = self.printed.lock().unwrap();
        assert_eq!(
            self.secrets.found_in(&printed),
            Vec::<String>::new(),
            "{printed}"
        );
        assert!(!printed.contains('\x1b'), "{printed:?}");
    }
}

impl CommandOutput {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Standard output as JSON, after success.
    #[track_caller]
    fn json(self) -> Value {
        let done = self.expect(0);
        serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:#?}"))
    }
}
