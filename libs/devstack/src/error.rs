use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

pub type Result<T> = std::result::Result<T, Error>;

/// Every message says how to fix the problem where the reader can fix it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}")]
    Io { what: String, source: io::Error },

    #[error("{program} failed ({status})\n{output}")]
    Program {
        program: String,
        status: ExitStatus,
        output: String,
    },

    #[error("{service} stopped by itself ({status}). Last lines of {log}:\n{lines}")]
    Exited {
        service: String,
        status: ExitStatus,
        log: PathBuf,
        lines: String,
    },

    #[error("{service} was not ready within {seconds} s: {why}. Last lines of {log}:\n{lines}")]
    NotReady {
        service: String,
        seconds: u64,
        why: String,
        log: PathBuf,
        lines: String,
    },

    #[error("port {port} is taken{holder}, and {wanted_by} needs it", holder = by(holder.as_deref()))]
    PortTaken {
        port: u16,
        wanted_by: String,
        holder: Option<String>,
    },

    #[error(
        "no Postgres 15 or later was found, and none could be installed.\n{tried}\n\
         Install one (Debian, Ubuntu: `apt-get install postgresql`; macOS: `brew install postgresql@17`) \
         or set DATABASE_URL to a server on which you are an administrator."
    )]
    NoPostgres { tried: String },

    #[error(
        "{} was written by Postgres {data}, but only {found} is installed. \
         Install Postgres {data}, or start with an empty database (`cargo xtask up --fresh`).",
        path.display()
    )]
    DataVersion {
        path: PathBuf,
        data: u32,
        found: String,
    },

    #[error("interrupted")]
    Cancelled,

    #[error("{0}")]
    Other(String),
}

fn by(holder: Option<&str>) -> String {
    holder
        .map(|holder| format!(" by {holder}"))
        .unwrap_or_default()
}

impl Error {
    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self::Other(message.into())
    }
}

/// Adds the failed action to an I/O error.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: format!("{}: {source}", what()),
            source,
        })
    }
}
