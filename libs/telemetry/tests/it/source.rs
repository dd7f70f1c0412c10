//! The source text of what runs in production, for tests that compare it with the documentation.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Development tools write for people, not for a log collector.
const NO_SERVICES: [&str; 3] = ["devpostgres", "devstack", "devstore"];

/// The workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The source files of the services and libraries.
pub(crate) fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for directory in ["services", "libs"] {
        collect(&root().join(directory), &mut files);
    }
    files
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" && !NO_SERVICES.contains(&name) {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The arguments of a macro whose opening parenthesis has been read.
pub(crate) fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut quoted) = (1, false);
    let mut arguments = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let argument = arguments.last_mut().unwrap();
        match character {
            '\\' if quoted => {
                argument.push(character);
                argument.extend(characters.next());
                continue;
            }
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 1 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
        argument.push(character);
    }
    arguments
}
