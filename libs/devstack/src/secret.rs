//! Random secrets for development, kept in files that only their owner can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::error::{Doing as _, Error, Result};

const SECRET_BYTES: usize = 32;

/// 32 random bytes as 64 hexadecimal digits.
pub fn random_hex() -> Result<String> {
    let mut bytes = [0_u8; SECRET_BYTES];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .doing(|| "read /dev/urandom".to_owned())?;
    Ok(hex::encode(bytes))
}

/// The secret `name` in `directory`; created (mode 0600) if absent.
pub fn load_or_create(directory: &Path, name: &str) -> Result<String> {
    let path = directory.join(name);
    match fs::read_to_string(&path) {
        Ok(secret) if !secret.trim().is_empty() => return Ok(secret.trim().to_owned()),
        Ok(_) => {
            return Err(Error::other(format!(
                "{} is empty; remove it to get a new secret",
                path.display()
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).doing(|| format!("read {}", path.display())),
    }
    let secret = random_hex()?;
    write(&path, &secret)?;
    Ok(secret)
}

/// Writes a secret (mode 0600) to a directory (mode 0700), completely or not at all.
pub fn write(path: &Path, secret: &str) -> Result<()> {
    let doing = || format!("write {}", path.display());
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .doing(doing)?;
    }
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .and_then(|mut file| writeln!(file, "{secret}"))
        .and_then(|()| fs::rename(&partial, path))
        .doing(doing)
}
