//! What a source file names: its paths, its imports, its calls.

use std::collections::{BTreeMap, BTreeSet};

/// Module path, such as `domain::links`; the crate root is empty.
pub(super) type Module = Vec<String>;

/// A facade may lead to another facade; more are a mistake.
const MAX_FACADES: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Source {
    tokens: Vec<String>,
    uses: Vec<Use>,
    /// Paths outside `use`.
    paths: Vec<Vec<String>>,
}

/// One leaf of a `use` tree.
#[derive(Debug)]
struct Use {
    is_public: bool,
    path: Vec<String>,
    /// The name that it brings into the module.
    name: String,
}

impl Source {
    pub(super) fn parse(text: &str) -> Self {
        let tokens = without_tests(tokens(text));
        let mut source = Self::default();
        let mut at = 0;
        while at < tokens.len() {
            // `use<'a>` in a bound names no path.
            if tokens[at] == "use" && tokens.get(at + 1).is_some_and(|next| next != "<") {
                let end = position(&tokens, at, ";");
                let is_public = is_public(&tokens[..at]);
                let mut tree = tokens[at + 1..end].iter().map(String::as_str).peekable();
                leaves(&mut tree, &mut Vec::new(), is_public, &mut source.uses);
                at = end;
            } else if is_name(&tokens[at]) {
                let path = path_at(&tokens, at);
                at += 2 * path.len() - 1;
                if path.len() > 1 {
                    source.paths.push(path);
                }
            } else {
                at += 1;
            }
        }
        source.tokens = tokens;
        source
    }

    /// Whether the code has this identifier or, with `::`, a path that begins like this.
    pub(super) fn names(&self, word: &str) -> bool {
        let Some((start, rest)) = word.split_once("::") else {
            return self.tokens.iter().any(|token| token == word);
        };
        self.tokens
            .windows(3)
            .any(|three| three[0] == start && three[1] == "::" && three[2].starts_with(rest))
    }

    /// The modules of this crate that `module`, whose source this is, depends on.
    pub(super) fn targets(
        &self,
        module: &Module,
        sources: &BTreeMap<Module, Source>,
    ) -> BTreeSet<Module> {
        let mut targets = BTreeSet::new();
        for import in &self.uses {
            let target = resolve(module, &import.path, sources, MAX_FACADES);
            let is_facade =
                |target: &Module| import.is_public && target.starts_with(module.as_slice());
            targets.extend(target.filter(|target| !is_facade(target)));
        }
        for path in &self.paths {
            targets.extend(resolve(module, path, sources, MAX_FACADES));
        }
        targets.remove(module);
        targets
    }

    /// Method calls with one of these names that are not among the arguments of `function`.
    pub(super) fn calls_outside(&self, function: &str, calls: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        let mut open: Vec<bool> = Vec::new();
        for (at, token) in self.tokens.iter().enumerate() {
            let before = at.checked_sub(1).map_or("", |before| &self.tokens[before]);
            match token.as_str() {
                "(" => open.push(before == function),
                ")" => drop(open.pop()),
                call if before == "." && calls.contains(&call) && !open.contains(&true) => {
                    found.push(call.to_owned());
                }
                _ => {}
            }
        }
        found
    }
}

/// The module that a path leads to, or `None` when it leaves the crate.
fn resolve(
    from: &Module,
    path: &[String],
    sources: &BTreeMap<Module, Source>,
    facades: usize,
) -> Option<Module> {
    let mut rest = path;
    let mut module = match path.first()?.as_str() {
        "crate" => Module::new(),
        "self" | "super" => from.clone(),
        first => {
            let mut child = from.clone();
            child.push(first.to_owned());
            sources.get(&child)?;
            from.clone()
        }
    };
    while let Some(first) = rest.first() {
        match first.as_str() {
            "crate" | "self" => {}
            "super" => drop(module.pop()),
            name => {
                module.push(name.to_owned());
                if !sources.contains_key(&module) {
                    module.pop();
                    break;
                }
            }
        }
        rest = &rest[1..];
    }
    let (Some(name), Some(facades)) = (rest.first(), facades.checked_sub(1)) else {
        return Some(module);
    };
    let import = sources[&module].uses.iter().find(|one| one.name == *name);
    match import {
        // What the facade imports from another crate belongs to no module here.
        Some(import) => resolve(&module, &import.path, sources, facades),
        None => Some(module),
    }
}

fn leaves<'a>(
    tree: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    prefix: &mut Vec<String>,
    is_public: bool,
    found: &mut Vec<Use>,
) {
    let depth = prefix.len();
    while let Some(token) = tree.next() {
        match token {
            "::" => {}
            "{" => {
                while tree.peek().is_some() && tree.next_if_eq(&"}").is_none() {
                    leaves(tree, prefix, is_public, found);
                    tree.next_if_eq(&",");
                }
            }
            name => {
                prefix.push(name.to_owned());
                if tree.peek() == Some(&"::") {
                    continue;
                }
                let mut path = prefix.clone();
                if path.len() > 1 && name == "self" {
                    path.pop();
                }
                let mut name = path.last().cloned().unwrap_or_default();
                if tree.peek() == Some(&"as") {
                    tree.next();
                    tree.next().unwrap_or_default().clone_into(&mut name);
                }
                found.push(Use {
                    is_public,
                    path,
                    name,
                });
            }
        }
        if matches!(tree.peek(), None | Some(&"," | &"}")) {
            break;
        }
    }
    prefix.truncate(depth);
}

/// Whether `pub` or `pub(...)` ends these tokens.
fn is_public(before: &[String]) -> bool {
    match before.last().map(String::as_str) {
        Some("pub") => true,
        Some(")") => before
            .iter()
            .rposition(|token| token == "(")
            .and_then(|open| open.checked_sub(1))
            .is_some_and(|at| before[at] == "pub"),
        _ => false,
    }
}

fn path_at(tokens: &[String], start: usize) -> Vec<String> {
    let mut path = vec![tokens[start].clone()];
    let mut at = start;
    while at + 2 < tokens.len() && tokens[at + 1] == "::" && is_name(&tokens[at + 2]) {
        at += 2;
        path.push(tokens[at].clone());
    }
    path
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn position(tokens: &[String], from: usize, wanted: &str) -> usize {
    let found = tokens[from..].iter().position(|token| token == wanted);
    found.map_or(tokens.len(), |offset| from + offset)
}

/// Leaves out the items behind `#[cfg(test)]`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let rest = &tokens[at..];
        if rest.len() > ATTRIBUTE.len() && rest.iter().zip(ATTRIBUTE).all(|(a, b)| a == b) {
            at = end_of_item(&tokens, at + ATTRIBUTE.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Behind the `;` or the closing brace of the item that starts here.
fn end_of_item(tokens: &[String], start: usize) -> usize {
    let mut depth = 0;
    let body = position(tokens, start, "{");
    let is_use = tokens[start..body].iter().any(|token| token == "use");
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if depth == 0 && !is_use {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Names and punctuation, without comments, strings, characters and lifetimes.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let next = chars.get(at + 1).copied().unwrap_or_default();
        match chars[at] {
            '/' if next == '/' => at = end_of_line(&chars, at),
            '/' if next == '*' => at = end_of_comment(&chars, at),
            '"' => at = end_of_string(&chars, at),
            '\'' => at = end_of_character(&chars, at),
            first if first.is_alphanumeric() || first == '_' => {
                let end = end_of_name(&chars, at);
                let word: String = chars[at..end].iter().collect();
                let raw = raw_string(&chars, end).filter(|_| matches!(&*word, "r" | "br" | "cr"));
                if let Some(after) = raw {
                    at = after;
                } else if chars.get(end) == Some(&'#') && word == "r" {
                    // A raw identifier; its name follows.
                    at = end + 1;
                } else {
                    tokens.push(word);
                    at = end;
                }
            }
            ':' if next == ':' => {
                tokens.push("::".to_owned());
                at += 2;
            }
            space if space.is_whitespace() => at += 1,
            other => {
                tokens.push(other.to_string());
                at += 1;
            }
        }
    }
    tokens
}

fn end_of_name(chars: &[char], start: usize) -> usize {
    let length = chars[start..]
        .iter()
        .take_while(|c| c.is_alphanumeric() || **c == '_')
        .count();
    start + length
}

fn end_of_line(chars: &[char], start: usize) -> usize {
    let length = chars[start..].iter().take_while(|c| **c != '\n').count();
    start + length
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Behind `#"..."#` with as many `#` as it starts with, if that starts here.
fn raw_string(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start..].iter().take_while(|c| **c == '#').count();
    let mut at = start + hashes;
    if chars.get(at) != Some(&'"') {
        return None;
    }
    loop {
        at += 1;
        let after = chars.get(at..)?;
        let closes = after.first() == Some(&'"')
            && after[1..].iter().take_while(|c| **c == '#').count() >= hashes;
        if closes {
            return Some(at + 1 + hashes);
        }
        after.first()?;
    }
}

/// Behind a character, or behind the quote of a lifetime and its name.
fn end_of_character(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), Some(_)) => {
            let rest = chars[start + 3..]
                .iter()
                .take_while(|c| **c != '\'')
                .count();
            start + 3 + rest + 1
        }
        (Some(_), Some('\'')) => start + 3,
        _ => end_of_name(chars, start + 1),
    }
}
