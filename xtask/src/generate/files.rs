//! Generated files are written beside the tree, in a directory of the same layout, and compared.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use walkdir::WalkDir;

/// What Python writes beside the modules that it runs.
const COMPILED_PYTHON: &str = "__pycache__";

/// Adds a file to the fresh ones.
pub(super) fn add(fresh: &Path, path: &str, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let target = fresh.join(path);
    fs::create_dir_all(target.parent().unwrap_or(fresh))?;
    fs::write(target, content).with_context(|| format!("write {path}"))
}

/// Paths whose content differs, is missing, or should not be there: `only` are directories that
/// contain nothing but generated files.
pub(super) fn stale(fresh: &Path, root: &Path, only: &[String]) -> anyhow::Result<Vec<String>> {
    let mut paths = names(fresh, "")?;
    for directory in only {
        paths.extend(names(root, directory)?);
    }
    paths.sort();
    paths.dedup();
    paths.retain(|path| fs::read(fresh.join(path)).ok() != fs::read(root.join(path)).ok());
    Ok(paths)
}

/// Puts stale files in their place, each atomically.
pub(super) fn write(fresh: &Path, root: &Path, only: &[String]) -> anyhow::Result<()> {
    for path in stale(fresh, root, only)? {
        let (source, target) = (fresh.join(&path), root.join(&path));
        let outcome = if source.exists() {
            let partial = root.join(format!("{path}.partial"));
            fs::create_dir_all(target.parent().unwrap_or(root))
                .and_then(|()| fs::copy(&source, &partial))
                .and_then(|_| fs::rename(&partial, &target))
        } else {
            fs::remove_file(&target)
        };
        outcome.with_context(|| format!("write {path}"))?;
        println!("  {path}");
    }
    Ok(())
}

/// The files below a directory by their path from `base`; none if it does not exist.
fn names(base: &Path, directory: &str) -> anyhow::Result<Vec<String>> {
    let inner = base.join(directory);
    if !inner.exists() {
        return Ok(Vec::new());
    }
    let entries = WalkDir::new(inner).into_iter();
    let mut names = Vec::new();
    for entry in entries.filter_entry(|entry| entry.file_name() != COMPILED_PYTHON) {
        let entry = entry?;
        if !entry.file_type().is_dir() {
            let path = entry.path().strip_prefix(base)?;
            names.push(path.to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{add, stale, write};

    #[test]
    fn stale_files_are_reported_and_rewritten() {
        let directory = tempfile::tempdir().unwrap();
        let (root, fresh) = (
            directory.path().join("root"),
            directory.path().join("fresh"),
        );
        for (path, content) in [
            ("queries/inner/old.json", "old"),
            ("queries/inner/__pycache__/b.pyc", "b"),
            ("same.md", "same"),
            ("other.md", "other"),
        ] {
            add(&root, path, content).unwrap();
        }
        for (path, content) in [
            ("queries/a.json", "a"),
            ("queries/inner/b.json", "b"),
            ("same.md", "same"),
            ("docs/new.md", "new"),
        ] {
            add(&fresh, path, content).unwrap();
        }
        let only = ["queries".to_owned()];
        let expected = [
            "docs/new.md",
            "queries/a.json",
            "queries/inner/b.json",
            "queries/inner/old.json",
        ];
        assert_eq!(stale(&fresh, &root, &only).unwrap(), expected);
        write(&fresh, &root, &only).unwrap();
        assert!(stale(&fresh, &root, &only).unwrap().is_empty());
        assert!(!root.join("queries/inner/old.json").exists());
        assert_eq!(fs::read_to_string(root.join("docs/new.md")).unwrap(), "new");
        assert!(root.join("other.md").exists());
    }
}
