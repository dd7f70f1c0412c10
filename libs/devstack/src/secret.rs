//! Random secrets for development, kept in files that only their owner can read.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tempfile::NamedTempFile;

/// 32 random bytes as 64 hexadecimal digits.
pub fn random_hex() -> Result<String> {
    let mut bytes = [0_u8; 32];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("read /dev/urandom")?;
    Ok(hex::encode(bytes))
}

/// The secret `name` in `directory`; created (mode 0600) if absent. Of several that create it at once,
/// all get the secret of the first.
pub fn load_or_create(directory: &Path, name: &str) -> Result<String> {
    let path = directory.join(name);
    if !path.exists() {
        match partial(&path, &random_hex()?)?.persist_noclobber(&path) {
            Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => {}
            outcome => drop(outcome.with_context(|| format!("write {}", path.display()))?),
        }
    }
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let secret = text.trim();
    let path = path.display();
    ensure!(
        !secret.is_empty(),
        "{path} is empty; remove it to get a new secret"
    );
    Ok(secret.to_owned())
}

/// Writes a secret (mode 0600) to a directory (mode 0700), completely or not at all.
pub fn write(path: &Path, secret: &str) -> Result<()> {
    let written = partial(path, secret)?.persist(path);
    written.with_context(|| format!("write {}", path.display()))?;
    Ok(())
}

/// A file of its own for each call: threads and processes may write the same secret.
pub(crate) fn partial(path: &Path, secret: &str) -> Result<NamedTempFile> {
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .and_then(|()| NamedTempFile::new_in(directory))
        .and_then(|mut file| writeln!(file, "{secret}").map(|()| file))
        .with_context(|| format!("write {}", path.display()))
}
