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
        let mut stale: Vec<String> = self
            .files
            .iter()
            .filter(|(path, content)| fs::read(root.join(path)).ok().as_ref() != Some(content))
            .map(|(path, _)| path.clone())
            .collect();
        stale.extend(self.superfluous(root)?);
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

    fn superfluous(&self, root: &Path) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for directory in &self.directories {
            for name in names(&root.join(directory))? {
                let path = format!("{directory}/{name}");
                if !self.files.contains_key(&path) {
                    found.push(path);
                }
            }
        }
        Ok(found)
    }
}

/// The files below a directory by their path from it; none if it does not exist.
fn names(directory: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    if directory.exists() {
        collect_names(directory, "", &mut names)?;
    }
    names.sort();
    Ok(names)
}

fn collect_names(directory: &Path, before: &str, names: &mut Vec<String>) -> anyhow::Result<()> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type()?.is_dir() {
            names.push(format!("{before}{name}"));
        } else if name != COMPILED_PYTHON {
            collect_names(&entry.path(), &format!("{before}{name}/"), names)?;
        }
    }
    Ok(())
}

fn write_atomically(target: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    let partial = target.with_file_name(name);
    fs::write(&partial, content)?;
    fs::rename(&partial, target)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Generated;

    #[test]
    fn stale_files_are_reported_and_rewritten() {
        let root = std::env::temp_dir().join(format!("quartet-generated-{}", std::process::id()));
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
        let stale = generated.stale(&root).unwrap();
        generated.write(&root).unwrap();
        let left = generated.stale(&root).unwrap();
        let old_is_gone = !root.join("queries/inner/old.json").exists();
        fs::remove_dir_all(&root).unwrap();

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
