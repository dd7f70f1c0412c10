use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// What Python writes beside the modules that it runs.
const COMPILED_PYTHON: &str = "__pycache__";

/// Generated files by their path from the root, and directories that contain nothing else.
#[derive(Default)]
pub(super) struct Generated {
    files: BTreeMap<String, Vec<u8>>,
    directories: Vec<String>,
}

impl Generated {
    pub(super) fn add(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), content.into());
    }

    /// All files below `from`, as the only ones in `directory`.
    pub(super) fn add_directory(&mut self, directory: &str, from: &Path) -> anyhow::Result<()> {
        for name in names(from)? {
            self.add(format!("{directory}/{name}"), fs::read(from.join(&name))?);
        }
        self.directories.push(directory.to_owned());
        Ok(())
    }

    /// Paths whose content differs, is missing, or should not be there.
    pub(super) fn stale(&self, root: &Path) -> anyhow::Result<Vec<String>> {
        let mut stale = Vec::new();
        for (path, content) in &self.files {
            if fs::read(root.join(path)).ok().as_ref() != Some(content) {
                stale.push(path.clone());
            }
        }
        for directory in &self.directories {
            let found = names(&root.join(directory))?.into_iter();
            let paths = found.map(|name| format!("{directory}/{name}"));
            stale.extend(paths.filter(|path| !self.files.contains_key(path)));
        }
        stale.sort();
        Ok(stale)
    }

    /// Writes stale files, each atomically.
    pub(super) fn write(&self, root: &Path) -> anyhow::Result<()> {
        for path in self.stale(root)? {
            let target = root.join(&path);
            match self.files.get(&path) {
                Some(content) => write_atomically(&target, content),
                None => fs::remove_file(&target),
            }
            .with_context(|| format!("write {path}"))?;
            println!("  {path}");
        }
        Ok(())
    }
}

/// The files below a directory by their path from it; none if it does not exist.
fn names(directory: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut pending = vec![String::new()];
    while let Some(before) = pending.pop() {
        let inner = directory.join(&before);
        if !inner.exists() {
            continue;
        }
        for entry in fs::read_dir(&inner).with_context(|| inner.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !entry.file_type()?.is_dir() {
                names.push(format!("{before}{name}"));
            } else if name != COMPILED_PYTHON {
                pending.push(format!("{before}{name}/"));
            }
        }
    }
    Ok(names)
}

fn write_atomically(target: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut partial = target.as_os_str().to_owned();
    partial.push(".partial");
    fs::write(&partial, content)?;
    fs::rename(&partial, target)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Generated;

    #[test]
    fn stale_files_are_reported_and_rewritten() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let from = root.join("from");
        fs::create_dir_all(from.join("inner")).unwrap();
        fs::create_dir_all(root.join("queries/inner/__pycache__")).unwrap();
        fs::write(from.join("a.json"), "a").unwrap();
        fs::write(from.join("inner/b.json"), "b").unwrap();
        fs::write(root.join("queries/inner/old.json"), "old").unwrap();
        fs::write(root.join("queries/inner/__pycache__/b.pyc"), "b").unwrap();
        fs::write(root.join("same.md"), "same").unwrap();

        let mut generated = Generated::default();
        generated.add_directory("queries", &from).unwrap();
        generated.add("same.md", "same");
        generated.add("docs/new.md", "new");
        let stale = generated.stale(root).unwrap();
        generated.write(root).unwrap();
        let left = generated.stale(root).unwrap();
        let old_is_gone = !root.join("queries/inner/old.json").exists();

        let expected = [
            "docs/new.md",
            "queries/a.json",
            "queries/inner/b.json",
            "queries/inner/old.json",
        ];
        assert_eq!(stale, expected);
        assert!(left.is_empty(), "{left:?}");
        assert!(old_is_gone);
    }
}
