//! The commands and their arguments.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 refused or failed, 2 usage error, 3 server unreachable.

The session is stored in the configuration directory, readable by its owner only.";

/// Uploads, short links and clicks from the command line.
#[derive(Debug, Parser)]
#[command(name = "quartet", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// URL of the gateway [default: `QUARTET_URL`, else the URL of the last login].
    #[arg(long, global = true)]
    pub(crate) url: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Log in. Prompts for the password, or reads it from standard input.
    Login(Login),
    /// Log out and end the session.
    Logout,
    /// Create an account and log in.
    Signup(Signup),
    /// Show the current account.
    Whoami,
    /// Upload files.
    Upload(Files),
    /// Manage uploaded files.
    #[command(subcommand)]
    Assets(Assets),
    /// Manage short links.
    #[command(subcommand)]
    Links(Links),
    /// Print a completion script for a shell.
    Completions { shell: Shell },
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Email of the account; prompts if omitted.
    pub(crate) email: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Signup {
    /// Email of the account; prompts if omitted.
    pub(crate) email: Option<String>,
    /// Display name.
    #[arg(long)]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Files {
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Make the files readable by anyone.
    #[arg(long)]
    pub(crate) public: bool,
    /// Media type [default: by file extension].
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Assets {
    /// List assets, newest first.
    List(AssetFilter),
    /// Show an asset.
    Get { id: String },
    /// Download the file of an asset.
    Download(Download),
    /// Delete assets permanently.
    Delete {
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AssetFilter {
    #[arg(long)]
    pub(crate) status: Option<Status>,
    #[arg(long)]
    pub(crate) visibility: Option<Visibility>,
    /// Maximum number of results.
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Status {
    Pending,
    Ready,
    Failed,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Visibility {
    Private,
    Public,
}

#[derive(Debug, Args)]
pub(crate) struct Download {
    pub(crate) id: String,
    /// Output file, or `-` for standard output [default: the name of the asset].
    #[arg(long, short)]
    pub(crate) output: Option<PathBuf>,
    /// Replace an existing file.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Links {
    /// Create a link.
    Create(NewLink),
    /// List links, newest first.
    List {
        /// Only links whose URL, slug or title contains this text.
        #[arg(long)]
        search: Option<String>,
        /// Maximum number of results.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show a link.
    Get {
        #[arg(value_name = "ID|SLUG")]
        link: String,
    },
    /// Change a link.
    Edit(Edit),
    /// Delete links permanently, with their clicks.
    Delete {
        #[arg(required = true, value_name = "ID|SLUG")]
        links: Vec<String>,
    },
    /// Show clicks as they happen, until Ctrl-C.
    Clicks {
        #[arg(value_name = "ID|SLUG")]
        link: String,
        /// Stop after this number of clicks.
        #[arg(long)]
        count: Option<u64>,
    },
    /// Show the QR code of a link or URL.
    Qr {
        #[arg(value_name = "ID|SLUG|URL")]
        link: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NewLink {
    /// Target URL.
    #[arg(value_name = "URL")]
    pub(crate) to: String,
    /// Last path segment of the short URL.
    #[arg(long)]
    pub(crate) slug: Option<String>,
    #[arg(long)]
    pub(crate) title: Option<String>,
    /// Expiration time, such as 2030-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<DateTime<Utc>>,
    /// Maximum number of redirects.
    #[arg(long, value_name = "N")]
    pub(crate) max_clicks: Option<i32>,
    /// HTTP status of the redirect: 301, 302, 307 or 308.
    #[arg(long, default_value_t = 302, value_name = "STATUS")]
    pub(crate) redirect_status: i32,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Changes {
    /// Target URL.
    #[arg(long, value_name = "URL")]
    pub(crate) to: Option<String>,
    /// Last path segment of the short URL.
    #[arg(long)]
    pub(crate) slug: Option<String>,
    #[arg(long)]
    pub(crate) title: Option<String>,
    #[arg(long, conflicts_with = "title")]
    pub(crate) no_title: bool,
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<DateTime<Utc>>,
    #[arg(long, conflicts_with = "expires")]
    pub(crate) no_expires: bool,
    #[arg(long, value_name = "N")]
    pub(crate) max_clicks: Option<i32>,
    #[arg(long, conflicts_with = "max_clicks")]
    pub(crate) no_max_clicks: bool,
    /// HTTP status of the redirect: 301, 302, 307 or 308.
    #[arg(long, value_name = "STATUS")]
    pub(crate) redirect_status: Option<i32>,
    #[arg(long)]
    pub(crate) enable: bool,
    #[arg(long, conflicts_with = "enable")]
    pub(crate) disable: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Edit {
    #[arg(value_name = "ID|SLUG")]
    pub(crate) link: String,
    #[command(flatten)]
    pub(crate) changes: Changes,
}
