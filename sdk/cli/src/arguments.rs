//! What can be said on the command line.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the server cannot be reached.

The session is kept in the configuration directory, readable by its owner only.";

/// A Quartet from the command line: files, short links and their clicks.
#[derive(Debug, Parser)]
#[command(name = "quartet", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Address of the gateway. Left out: `QUARTET_URL`, or the one of the last login.
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
    /// Log in. The password is asked for, or read from standard input.
    Login(Login),
    /// End the session.
    Logout,
    /// Make an account and log in.
    Signup(Signup),
    /// Show the account that is logged in.
    Whoami,
    /// Upload files.
    Upload(Files),
    /// Uploaded files.
    #[command(subcommand)]
    Assets(Assets),
    /// Short links.
    #[command(subcommand)]
    Links(Links),
    /// Print a script that completes commands in a shell.
    Completions { shell: Shell },
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Mail address of the account; asked for when it is left out.
    pub(crate) email: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Signup {
    /// Mail address of the account; asked for when it is left out.
    pub(crate) email: Option<String>,
    /// Name to be shown.
    #[arg(long)]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Files {
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Everybody may read them.
    #[arg(long)]
    pub(crate) public: bool,
    /// Media type; otherwise by the end of the name.
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Assets {
    /// List them, newest first.
    List(AssetFilter),
    /// Show one.
    Get { id: String },
    /// Fetch the file of one.
    Download(Download),
    /// Delete some for good.
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
    /// How many at most.
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
    /// Where to; `-`: standard output. Left out: the asset's name, in this directory.
    #[arg(long, short)]
    pub(crate) output: Option<PathBuf>,
    /// Replace a file that is there.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Links {
    /// Make one.
    Create(NewLink),
    /// List them, newest first.
    List {
        /// Only links whose address or title holds this.
        #[arg(long)]
        search: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show one.
    Get {
        #[arg(value_name = "ID|SLUG")]
        link: String,
    },
    /// Change one.
    Edit(Edit),
    /// Delete some for good, with their counts.
    Delete {
        #[arg(required = true, value_name = "ID|SLUG")]
        links: Vec<String>,
    },
    /// Show clicks as they happen, until Ctrl-C.
    Clicks {
        #[arg(value_name = "ID|SLUG")]
        link: String,
        /// End after so many clicks.
        #[arg(long)]
        count: Option<u64>,
    },
    /// Show a QR code.
    Qr {
        #[arg(value_name = "ID|SLUG|URL")]
        link: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NewLink {
    /// Where it leads.
    #[arg(value_name = "URL")]
    pub(crate) to: String,
    /// What the short address ends in.
    #[arg(long)]
    pub(crate) slug: Option<String>,
    #[arg(long)]
    pub(crate) title: Option<String>,
    /// When it ends, such as 2030-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<DateTime<Utc>>,
    /// How many people it lets through.
    #[arg(long, value_name = "N")]
    pub(crate) max_clicks: Option<i32>,
    /// 301, 302, 307 or 308.
    #[arg(long, default_value_t = 302, value_name = "STATUS")]
    pub(crate) redirect_status: i32,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Changes {
    /// Where it leads.
    #[arg(long, value_name = "URL")]
    pub(crate) to: Option<String>,
    /// What the short address ends in.
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
    /// 301, 302, 307 or 308.
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
