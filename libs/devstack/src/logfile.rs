use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::error::{Doing as _, Result};

/// Lines shown when a process failed.
pub(crate) const LAST_LINES: usize = 20;
const TAIL_BYTES: u64 = 64 * 1024;

/// Opens a log for appending; creates its directory.
pub(crate) fn open(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).doing(|| format!("create {}", parent.display()))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .doing(|| format!("open {}", path.display()))
}

/// The last lines of a log, out of its last 64 KiB, as one indented block.
pub(crate) fn block(path: &Path, count: usize) -> String {
    let bytes = tail(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(count)..];
    if last.is_empty() {
        return "    (the log is empty)".to_owned();
    }
    format!("    {}", last.join("\n    "))
}

fn tail(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
