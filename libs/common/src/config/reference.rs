//! The commented defaults as a reference, for `--help` and `docs/config.md`.

use std::fmt::Write as _;

use super::key::variable;

/// A setting in the reference.
#[derive(Clone, Debug)]
pub struct Setting {
    pub key: String,
    pub default: String,
    pub doc: String,
}

/// Every setting in the order of the defaults, with its comment.
pub fn settings(defaults: &[&str]) -> Vec<Setting> {
    let mut found: Vec<Setting> = Vec::new();
    for text in defaults {
        let mut section = String::new();
        let mut doc = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix('#') {
                let _ = write!(doc, "{} ", comment.trim());
            } else if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                section = format!("{name}.");
                doc.clear();
            } else if let Some((key, value)) = line.split_once('=') {
                let key = format!("{section}{}", key.trim());
                let default = value.trim().to_owned();
                let doc = std::mem::take(&mut doc).trim().to_owned();
                match found.iter_mut().find(|known| known.key == key) {
                    Some(known) if doc.is_empty() => known.default = default,
                    Some(known) => *known = Setting { key, default, doc },
                    None => found.push(Setting { key, default, doc }),
                }
            } else {
                doc.clear();
            }
        }
    }
    found
}

/// The reference as text for `--help`.
pub fn render_help(defaults: &[&str]) -> String {
    let mut text = String::from(
        "Settings: key in the TOML file, environment variable, default. A variable with the suffix\n\
         _FILE names a file that contains the value.\n",
    );
    for Setting { key, default, doc } in settings(defaults) {
        let _ = write!(
            text,
            "\n  {key}  ${}  [{default}]\n      {doc}\n",
            variable(&key)
        );
    }
    text
}

/// The reference as a Markdown table for docs/config.md.
pub fn render_markdown(defaults: &[&str]) -> String {
    let mut text = String::from("| key | variable | default | meaning |\n|---|---|---|---|\n");
    for Setting { key, default, doc } in settings(defaults) {
        let doc = doc.replace('|', "\\|");
        let _ = writeln!(
            text,
            "| `{key}` | `{}` | `{default}` | {doc} |",
            variable(&key)
        );
    }
    text
}
