//! Words that the table "Retired words" of docs/glossary.md replaced by others.
//!
//! An underscore counts as a space, so that identifiers are checked as well as prose. A row with
//! words outside its regular expressions (`spent` "of a token") leaves the decision to reviewers.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use regex::{Regex, RegexBuilder};

use super::tracked;

const GLOSSARY: &str = "docs/glossary.md";
/// Files with prose or identifiers of our own.
const CHECKED: [&str; 21] = [
    "*.cfg",
    "*.conf",
    "*.css",
    "*.ftl",
    "*.html",
    "*.js",
    "*.lua",
    "*.md",
    "*.mjs",
    "*.py",
    "*.rs",
    "*.sh",
    "*.sql",
    "*.toml",
    "*.ts",
    "*.tsx",
    "*.yaml",
    "*.yml",
    ".ci/run",
    "*/Dockerfile",
    "*/Caddyfile",
];
/// Parts of paths of generated files, of history, and of the glossary itself.
const EXEMPT: [&str; 9] = [
    // A user of Unix systems, and a value of CSS.
    "devstack/src/user.rs",
    "docs/docs.css",
    "/generated/",
    "/_generated/",
    "CHANGELOG.md",
    "docs/config.md",
    "docs/errors.md",
    "requirements",
    GLOSSARY,
];

/// Names that are stored or published.
const STABLE: [&str; 1] = ["client_address"];

pub(super) fn check(root: &Path) -> anyhow::Result<()> {
    let glossary = fs::read_to_string(root.join(GLOSSARY)).context(GLOSSARY)?;
    let retired = RetiredWords::parse(&glossary)?;
    let mut count = 0;
    for path in tracked(root, &CHECKED)? {
        if EXEMPT.iter().any(|exempt| path.contains(exempt)) {
            continue;
        }
        // A deleted file is tracked until that is committed.
        let Ok(text) = fs::read_to_string(root.join(&path)) else {
            continue;
        };
        for finding in retired.find(&text) {
            count += 1;
            let Finding {
                line,
                word,
                instead,
            } = finding;
            eprintln!("{path}:{line}: `{word}` is retired; instead: {instead}");
        }
    }
    ensure!(count == 0, "{count} retired words; {GLOSSARY} explains");
    Ok(())
}

/// The rows of the table.
struct RetiredWords {
    /// All expressions at once, which is fast; then each with its replacement.
    any: Regex,
    rows: Vec<(Regex, String)>,
}

#[derive(Debug, PartialEq)]
struct Finding<'a> {
    line: usize,
    word: String,
    instead: &'a str,
}

impl RetiredWords {
    fn parse(glossary: &str) -> anyhow::Result<Self> {
        let section = glossary.split("\n## Retired words\n").nth(1);
        let section = section.context("there is no section \"Retired words\"")?;
        let section = section.split("\n## ").next().unwrap_or_default();
        let mut rows = Vec::new();
        let mut all = Vec::new();
        for line in section.lines().filter(|line| line.starts_with("| `")) {
            let cells = cells(line);
            let [expressions, instead] = &cells[..] else {
                anyhow::bail!("not two columns: {line}");
            };
            let parts: Vec<&str> = expressions.split('`').collect();
            let is_advisory = parts
                .iter()
                .step_by(2)
                .any(|text| !text.trim_matches([',', ' ']).is_empty());
            if !is_advisory {
                for expression in parts.into_iter().skip(1).step_by(2) {
                    rows.push((regex(expression)?, instead.clone()));
                    all.push(format!("(?:{expression})"));
                }
            }
        }
        ensure!(!rows.is_empty(), "the table \"Retired words\" is empty");
        Ok(Self {
            any: regex(&all.join("|"))?,
            rows,
        })
    }

    fn find(&self, text: &str) -> Vec<Finding<'_>> {
        let spaced = text.replace('_', " ");
        let finding = |found: regex::Match<'_>| {
            let row = self
                .rows
                .iter()
                .find(|(word, _)| word.is_match(found.as_str()));
            Finding {
                line: spaced[..found.start()].matches('\n').count() + 1,
                word: text[found.range()].to_owned(),
                instead: row.map_or("", |(_, instead)| instead),
            }
        };
        let found = self.any.find_iter(&spaced).map(finding);
        found
            .filter(|finding| !STABLE.contains(&finding.word.as_str()))
            .collect()
    }
}

/// What a space of an expression matches: the end of a line, too, with what begins the next line of a
/// comment.
const SPACE: &str = r"(?:[ \t]+|[ \t]*\n[ \t]*(?:(?://[/!]?|#|--|\*|>)[ \t]*)?)";

fn regex(expression: &str) -> anyhow::Result<Regex> {
    RegexBuilder::new(&expression.replace(' ', SPACE))
        .case_insensitive(true)
        // Boundaries of Unicode words are several times slower.
        .unicode(false)
        .build()
        .with_context(|| format!("`{expression}` in {GLOSSARY}"))
}

/// The cells of a row of a Markdown table; a bar between backticks belongs to its cell.
fn cells(row: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut is_code = false;
    for character in row.trim_matches(['|', ' ']).chars() {
        is_code ^= character == '`';
        match cells.last_mut() {
            Some(cell) if is_code || character != '|' => cell.push(character),
            _ => cells.push(String::new()),
        }
    }
    cells
        .into_iter()
        .map(|cell| cell.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Finding, RetiredWords, STABLE};

    const GLOSSARY: &str = "# Glossary\n\n## Terms\n\n| `a` | no |\n\n## Retired words\n\n\
        | not | but |\n|---|---|\n\
        | `\\bfroob(s|ed|ing)?\\b` | fix |\n\
        | `\\bmany gleeps\\b`, `\\bfew gleeps\\b` | the number |\n\
        | `\\bspent\\b` of a token | used |\n";

    #[test]
    fn retired_words_are_found_in_prose_and_identifiers() {
        let retired = RetiredWords::parse(GLOSSARY).unwrap();
        let text = "Froobed at last.\nfn takes_few_gleeps_at_once() {}\n// prefroob, spent, a\n";
        let finding = |line, word: &str, instead| Finding {
            line,
            word: word.to_owned(),
            instead,
        };
        let expected = [
            finding(1, "Froobed", "fix"),
            finding(2, "few_gleeps", "the number"),
        ];
        assert_eq!(retired.find(text), expected);
        for text in [
            "/// Not with few\n    /// gleeps.\n",
            "few  \n  gleeps",
            "# a few\n# gleeps",
            "-- few\n--gleeps",
        ] {
            assert_eq!(retired.find(text).len(), 1, "{text}");
        }
        assert_eq!(retired.find("few\n\ngleeps, few, gleeps"), []);
    }

    #[test]
    fn stable_names_are_allowed_but_not_their_words() {
        let words = STABLE[0].replace('_', " ");
        let glossary = format!("\n## Retired words\n\n| `{words}` | other |\n");
        let retired = RetiredWords::parse(&glossary).unwrap();
        assert_eq!(retired.find(&format!("{}: {words}", STABLE[0])).len(), 1);
    }

    #[test]
    fn a_table_that_cannot_be_read_is_an_error() {
        assert!(RetiredWords::parse("# Glossary\n").is_err());
        assert!(RetiredWords::parse("\n## Retired words\n\n| `(` | b |\n").is_err());
        assert!(RetiredWords::parse("\n## Retired words\n\n| `a` | b | c |\n").is_err());
    }

    #[test]
    fn the_glossary_itself_can_be_read() {
        let path = quartet_devstack::workspace::root().join(super::GLOSSARY);
        let retired = RetiredWords::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(retired.rows.len() > 20);
    }
}
