//! Words that the table "Retired words" of docs/glossary.md replaced by others.
//!
//! An underscore counts as a space, so that identifiers are checked as well as prose. A row with
//! words outside its regular expressions (`spent` "of a token") leaves the decision to reviewers.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use regex::{Regex, RegexBuilder};

use super::tracked;

const GLOSSARY: &str = "docs/glossary.md";
/// Files with prose or identifiers of our own.
const CHECKED: &str = "*.cfg *.conf *.css *.ftl *.html *.js *.lua *.md *.mjs *.py *.rs *.sh *.sql \
    *.toml *.ts *.tsx *.yaml *.yml .ci/run */Dockerfile */Caddyfile";
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
    let checked: Vec<&str> = CHECKED.split(' ').filter(|it| !it.is_empty()).collect();
    let mut count = 0;
    for path in tracked(root, &checked)? {
        if EXEMPT.iter().any(|exempt| path.contains(exempt)) {
            continue;
        }
        // A deleted file is tracked until that is committed.
        let text = fs::read_to_string(root.join(&path)).unwrap_or_default();
        for (line, word, instead) in retired.find(&text) {
            count += 1;
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

impl RetiredWords {
    fn parse(glossary: &str) -> anyhow::Result<Self> {
        let section = glossary.split("\n## Retired words\n").nth(1);
        let section = section.context("there is no section \"Retired words\"")?;
        let section = section.split("\n## ").next().unwrap_or_default();
        let mut rows = Vec::new();
        let mut all = Vec::new();
        for line in section.lines().filter(|line| line.starts_with("| `")) {
            // A bar between backticks belongs to its cell: the cells are separated by ` | `.
            let cells: Vec<&str> = line.trim_matches(['|', ' ']).split(" | ").collect();
            let [expressions, instead] = cells[..] else {
                bail!("not two columns: {line}");
            };
            let (code, prose) = parts(expressions);
            // Words outside the expressions leave the decision to reviewers.
            if prose
                .iter()
                .all(|text| text.trim_matches([',', ' ']).is_empty())
            {
                for expression in code {
                    rows.push((regex(expression)?, instead.to_owned()));
                    all.push(format!("(?:{expression})"));
                }
            }
        }
        ensure!(!rows.is_empty(), "the table \"Retired words\" is empty");
        let any = regex(&all.join("|"))?;
        Ok(Self { any, rows })
    }

    /// Lines, words, and what replaces them.
    fn find(&self, text: &str) -> Vec<(usize, String, &str)> {
        let spaced = text.replace('_', " ");
        let finding = |found: regex::Match<'_>| {
            let mut rows = self.rows.iter();
            let row = rows.find(|(word, _)| word.is_match(found.as_str()));
            let line = spaced[..found.start()].matches('\n').count() + 1;
            let instead = row.map_or("", |(_, instead)| instead);
            (line, text[found.range()].to_owned(), instead)
        };
        let found = self.any.find_iter(&spaced).map(finding);
        found
            .filter(|(_, word, _)| !STABLE.contains(&word.as_str()))
            .collect()
    }
}

/// What is between backticks, and what is not.
fn parts(cell: &str) -> (Vec<&str>, Vec<&str>) {
    let parts: Vec<&str> = cell.split('`').collect();
    let every_second = |first: usize| parts.iter().skip(first).step_by(2).copied().collect();
    (every_second(1), every_second(0))
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

#[cfg(test)]
mod tests {
    use super::{RetiredWords, STABLE};

    const GLOSSARY: &str = "# Glossary\n\n## Terms\n\n| `a` | no |\n\n## Retired words\n\n\
        | not | but |\n|---|---|\n\
        | `\\bfroob(s|ed|ing)?\\b` | fix |\n\
        | `\\bmany gleeps\\b`, `\\bfew gleeps\\b` | the number |\n\
        | `\\bspent\\b` of a token | used |\n";

    #[test]
    fn retired_words_are_found_in_prose_and_identifiers() {
        let retired = RetiredWords::parse(GLOSSARY).unwrap();
        let text = "Froobed at last.\nfn takes_few_gleeps_at_once() {}\n// prefroob, spent, a\n";
        let expected = [
            (1, "Froobed".to_owned(), "fix"),
            (2, "few_gleeps".to_owned(), "the number"),
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
