//! Failures, as text or JSON on standard error and as an exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use quartet_client::{Error, Problem, ProblemCode};
use serde_json::json;

use crate::terminal::{clean, has_color};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Client(#[from] Error),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Refused(String),
    #[error("{what}: {source}")]
    Local { what: String, source: io::Error },
    /// The reader of standard output has closed it, which is not an error.
    #[error("the output is closed")]
    Closed,
    /// Each has been printed already; the last one determines the exit code.
    #[error("{failed} of {of} failed")]
    Several { failed: usize, of: usize, code: u8 },
}

const REFUSED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;

impl Failure {
    pub(crate) fn local(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Local { what, source }
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Usage(_) | Self::Client(Error::Setup(_) | Error::File(_)) => USAGE,
            Self::Client(Error::Transport(_)) => UNREACHABLE,
            Self::Client(_) | Self::Refused(_) | Self::Local { .. } => REFUSED,
            Self::Several { code, .. } => *code,
        }
    }

    /// Prints the failure and returns the exit code.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        self.print(json);
        ExitCode::from(self.code())
    }

    /// Prints the failure on standard error.
    pub(crate) fn print(&self, json: bool) {
        if matches!(self, Self::Closed) {
            return;
        }
        let mut text = if json { self.as_json() } else { self.as_text() };
        text.push('\n');
        // If this fails, there is nowhere left to report it.
        let _ = io::stderr().write_all(text.as_bytes());
    }

    fn as_text(&self) -> String {
        let head = if has_color(&io::stderr()) {
            "\x1b[31merror:\x1b[0m"
        } else {
            "error:"
        };
        let Self::Client(Error::Problem(problem)) = self else {
            return format!("{head} {}", clean(&self.to_string()));
        };
        format!("{head} {}", lines(problem).join("\n  "))
    }

    fn as_json(&self) -> String {
        let error = match self {
            Self::Client(Error::Problem(problem)) => json!({
                "message": problem.title,
                "detail": problem.detail,
                "code": problem.code.as_str(),
                "status": problem.status,
                "request_id": problem.request_id,
                "errors": problem.errors,
                "retry_after_seconds": problem.retry_after.map(|wait| wait.as_secs()),
            }),
            other => json!({ "message": other.to_string() }),
        };
        json!({ "error": error }).to_string()
    }
}

/// The problem, the fields it concerns, and how to find it in the server's logs.
fn lines(problem: &Problem) -> Vec<String> {
    let detail = problem.detail.as_deref().map(|it| format!(": {it}"));
    let mut lines = vec![format!("{}{}", problem.title, detail.unwrap_or_default())];
    for error in &problem.errors {
        let (field, rule, code) = (error.field(), &error.detail, &error.code);
        lines.push(format!("{field}: {rule} ({code})"));
    }
    if let Some(wait) = problem.retry_after {
        lines.push(format!("retry in {} s", wait.as_secs()));
    }
    if matches!(
        problem.code,
        ProblemCode::Unauthenticated | ProblemCode::InvalidRefreshToken
    ) {
        lines.push("the session has ended; run `quartet login`".to_owned());
    }
    let id = problem.request_id.as_deref().unwrap_or("unknown");
    lines.push(format!("code {}, request {id}", problem.code));
    lines.iter().map(|line| clean(line)).collect()
}
