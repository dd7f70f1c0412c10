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

/// The secret `name` in `directory`; created (mode 0600) if absent. Of several that create it at once,
/// all get the secret of the first.
pub fn load_or_create(directory: &Path, name: &str) -> Result<String> {
    let path = directory.join(name);
    if let Some(secret) = load(&path)? {
        return Ok(secret);
    }
    let secret = random_hex()?;
    put(&path, &secret, |partial, path| {
        let linked = fs::hard_link(partial, path);
        fs::remove_file(partial)?;
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    })?;
    Ok(load(&path)?.unwrap_or(secret))
}

fn load(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(secret) if !secret.trim().is_empty() => Ok(Some(secret.trim().to_owned())),
        Ok(_) => Err(Error::other(format!(
            "{} is empty; remove it to get a new secret",
            path.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing(|| format!("read {}", path.display())),
    }
}

/// Writes a secret (mode 0600) to a directory (mode 0700), completely or not at all.
pub fn write(path: &Path, secret: &str) -> Result<()> {
    put(path, secret, |partial, path| fs::rename(partial, path))
}

fn put(
    path: &Path,
    secret: &str,
    place: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> Result<()> {
    let doing = || format!("write {}", path.display());
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .doing(doing)?;
    }
    // Of its own for each call: threads and processes may write the same secret.
    let partial = path.with_extension(format!("{}.partial", random_hex()?));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)
        .and_then(|mut file| writeln!(file, "{secret}"))
        .and_then(|()| place(&partial, path))
        .doing(doing)
}
