//! `cargo xtask ca`: an authority for development, and certificates by it.
//!
//! The authority stays while its files do, so that what trusts it continues to; certificates are new with
//! each run. Files are replaced one by one, as those who renew certificates do: services that run read
//! them again.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use quartet_ca::{Authority, Identity, KeyKind, Request, Validity};

const NAME: &str = "Quartet development authority";
const DAY: Duration = Duration::from_hours(24);
const AUTHORITY_DAYS: u32 = 3650;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the files are written
    #[arg(long, default_value = ".quartet/ca")]
    directory: PathBuf,
    /// How long the certificates are valid
    #[arg(long, default_value = "90", value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// A further name or IP address of all certificates, such as the host of a machine
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Who gets a certificate
    #[arg(default_values = ["gateway", "core", "media", "links", "postgres", "redis"])]
    services: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let directory = &args.directory;
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let authority = authority(directory)?;
    for service in &args.services {
        let names = [service.as_str(), "localhost", "127.0.0.1", "::1"];
        let more = args.names.iter().map(String::as_str);
        let names: Vec<&str> = names.into_iter().chain(more).collect();
        let identity = authority.issue(&Request {
            names: &names,
            common_name: service,
            is_client: true,
            key: KeyKind::Ecdsa,
            validity: Validity::of(DAY * args.days),
        });
        let identity = identity.with_context(|| format!("a certificate for {service}"))?;
        write(directory, service, &identity)?;
    }
    println!(
        "{}: authority.pem is what others trust; SERVICE.pem and SERVICE.key are for {}",
        directory.display(),
        args.services.join(", ")
    );
    Ok(())
}

/// The one of the directory, or a new one.
fn authority(directory: &Path) -> anyhow::Result<Authority> {
    let read = |file: &str| fs::read_to_string(directory.join(file));
    match (read("authority.pem"), read("authority.key")) {
        (Ok(certificate), Ok(key)) => {
            let known = Identity { certificate, key };
            Ok(Authority::open(NAME, &known)?)
        }
        (Err(one), Err(other)) if [one.kind(), other.kind()] == [ErrorKind::NotFound; 2] => {
            let created = Authority::create(NAME, Validity::of(DAY * AUTHORITY_DAYS))?;
            write(directory, "authority", &created.identity())?;
            Ok(created)
        }
        // Half of one would be replaced by another one, which nothing trusts.
        _ => anyhow::bail!(
            "{}: authority.pem and authority.key must both be readable, or both be missing",
            directory.display()
        ),
    }
}

fn write(directory: &Path, name: &str, identity: &Identity) -> anyhow::Result<()> {
    replace(directory, &format!("{name}.key"), &identity.key, 0o600)?;
    replace(
        directory,
        &format!("{name}.pem"),
        &identity.certificate,
        0o644,
    )
}

/// No reader sees a part of the file.
fn replace(directory: &Path, name: &str, text: &str, mode: u32) -> anyhow::Result<()> {
    let (path, new) = (directory.join(name), directory.join(format!("{name}.new")));
    let written = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)
    };
    written().with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_authority_stays_and_certificates_are_new() {
        let directory = tempfile::tempdir().unwrap();
        let args = Args {
            directory: directory.path().join("ca"),
            days: 1,
            names: vec!["host.test".to_owned()],
            services: vec!["core".to_owned()],
        };
        let read = |file: &str| fs::read_to_string(args.directory.join(file)).unwrap();
        run(&args).unwrap();
        let first = ["authority.pem", "authority.key", "core.pem", "core.key"].map(read);
        run(&args).unwrap();
        let second = ["authority.pem", "authority.key", "core.pem", "core.key"].map(read);
        assert_eq!(first[..2], second[..2]);
        assert_ne!(first[2], second[2]);
        assert_ne!(first[3], second[3]);
        let mode = |file: &str| {
            let metadata = fs::metadata(args.directory.join(file)).unwrap();
            metadata.permissions().mode() & 0o777
        };
        assert_eq!(mode("core.key"), 0o600);
        assert_eq!(mode("authority.key"), 0o600);
        // Half of an authority is not replaced.
        fs::remove_file(args.directory.join("authority.key")).unwrap();
        assert!(run(&args).is_err());
    }
}
