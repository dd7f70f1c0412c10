//! Rewrites string literals into a form that the parser of async-graphql reads correctly.
//!
//! The parser rejects surrogate pairs and `\u{...}`, keeps the escape `\"""` of block strings as it
//! stands, and does not strip the indentation of blank lines. So each literal that it would misread
//! is evaluated here as the specification says (2.9.4 String Value), and written again as an ordinary
//! string with simple escapes. Spaces and line ends after the literal keep what follows in its
//! place, so that the locations of errors stay right.
//!
//! Literals that are malformed in other ways are left as they are: the parser reports them.

use std::{borrow::Cow, iter::Peekable, str::Chars};

const BLOCK_QUOTE: &str = "\"\"\"";

/// A literal with an escape of no character, such as half of a surrogate pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidEscape {
    /// Line and column of the literal, from 1.
    pub(super) at: (usize, usize),
}

/// The document with literals that the parser reads correctly.
pub(super) fn rewrite(document: &str) -> Result<Cow<'_, str>, InvalidEscape> {
    if !document.contains(BLOCK_QUOTE) && !document.contains("\\u") {
        return Ok(document.into());
    }
    let mut written = String::with_capacity(document.len());
    let mut rest = document;
    while let Some(start) = rest.find(['"', '#']) {
        let (before, from_here) = rest.split_at(start);
        written.push_str(before);
        let end = if from_here.starts_with('#') {
            from_here.find(['\n', '\r']).unwrap_or(from_here.len())
        } else {
            literal_length(from_here.as_bytes()).unwrap_or(from_here.len())
        };
        let (token, after) = from_here.split_at(end);
        rest = after;
        match evaluate(token) {
            Ok(Some(value)) => replace(&mut written, token, &value),
            Ok(None) => written.push_str(token),
            Err(InvalidCharacter) => {
                let at = position(&document[..document.len() - from_here.len()]);
                return Err(InvalidEscape { at });
            }
        }
    }
    written.push_str(rest);
    Ok(written.into())
}

/// The length of the string or block string at the start. A string ends with its line at the latest;
/// `None` if a block string does not end.
pub(super) fn literal_length(text: &[u8]) -> Option<usize> {
    let is_block = text.starts_with(BLOCK_QUOTE.as_bytes());
    let quote = if is_block { BLOCK_QUOTE } else { "\"" }.as_bytes();
    let mut at = quote.len();
    while let Some(byte) = text.get(at) {
        let here = &text[at..];
        at += match byte {
            b'\\' if is_block && here[1..].starts_with(quote) => 4,
            b'\\' if !is_block => 2,
            _ if here.starts_with(quote) => return Some(at + quote.len()),
            b'\n' | b'\r' if !is_block => return Some(at),
            _ => 1,
        };
    }
    (!is_block).then_some(text.len())
}

struct InvalidCharacter;

/// The value of a literal, if it has to be written differently.
fn evaluate(token: &str) -> Result<Option<String>, InvalidCharacter> {
    let inside = |quote| token.strip_prefix(quote)?.strip_suffix(quote);
    if token.starts_with(BLOCK_QUOTE) && token.len() >= 2 * BLOCK_QUOTE.len() {
        return Ok(
            inside(BLOCK_QUOTE).map(|raw| block_value(&raw.replace("\\\"\"\"", BLOCK_QUOTE)))
        );
    }
    match inside("\"") {
        Some(escaped) if escaped.contains("\\u") => string_value(escaped),
        _ => Ok(None),
    }
}

/// `None` if an escape is malformed.
fn string_value(escaped: &str) -> Result<Option<String>, InvalidCharacter> {
    let mut value = String::with_capacity(escaped.len());
    let mut chars = escaped.chars().peekable();
    while let Some(char) = chars.next() {
        if char != '\\' {
            value.push(char);
            continue;
        }
        value.push(match chars.next() {
            Some(plain @ ('"' | '\\' | '/')) => plain,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => match code_point(&mut chars) {
                Some(code) => char::from_u32(code).ok_or(InvalidCharacter)?,
                None => return Ok(None),
            },
            _ => return Ok(None),
        });
    }
    Ok(Some(value))
}

/// What follows `\u`. Two escapes that form a surrogate pair are one code point.
fn code_point(chars: &mut Peekable<Chars<'_>>) -> Option<u32> {
    if chars.next_if_eq(&'{').is_some() {
        let mut code = None;
        loop {
            match chars.next()? {
                '}' => return code,
                digit => {
                    let high = code.unwrap_or(0_u32).saturating_mul(16);
                    code = Some(high.saturating_add(digit.to_digit(16)?));
                }
            }
        }
    }
    let high = four_digits(chars)?;
    let mut ahead = chars.clone();
    let is_pair =
        (0xD800..0xDC00).contains(&high) && ahead.next() == Some('\\') && ahead.next() == Some('u');
    match four_digits(&mut ahead) {
        Some(low @ 0xDC00..0xE000) if is_pair => {
            *chars = ahead;
            Some(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
        }
        _ => Some(high),
    }
}

fn four_digits(chars: &mut Peekable<Chars<'_>>) -> Option<u32> {
    (0..4).try_fold(0, |code, _| Some(code * 16 + chars.next()?.to_digit(16)?))
}

/// `BlockStringValue` of the specification.
fn block_value(raw: &str) -> String {
    let text = raw.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    let is_blank = |line: &&str| line.chars().all(|char| matches!(char, ' ' | '\t'));
    let indentation = |line: &&str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let contentful = lines.iter().skip(1).filter(|line| !is_blank(line));
    let common = contentful.map(indentation).min().unwrap_or(0);
    let first = lines.iter().position(|line| !is_blank(line));
    let last = lines.iter().rposition(|line| !is_blank(line));
    let (Some(first), Some(last)) = (first, last) else {
        return String::new();
    };
    let line = |index: usize| match index {
        0 => lines[0],
        _ => lines[index].get(common..).unwrap_or_default(),
    };
    let kept: Vec<&str> = (first..=last).map(line).collect();
    kept.join("\n")
}

/// Writes the value as an ordinary string, and as much space as the literal took.
fn replace(written: &mut String, literal: &str, value: &str) {
    let start = written.len();
    written.push('"');
    for char in value.chars() {
        match char {
            '"' => written.push_str("\\\""),
            '\\' => written.push_str("\\\\"),
            '\n' => written.push_str("\\n"),
            '\r' => written.push_str("\\r"),
            char => written.push(char),
        }
    }
    written.push('"');
    let lines = literal.matches('\n').count();
    let width = written[start..].chars().count();
    let last = literal.rsplit('\n').next().unwrap_or_default();
    let missing = last
        .chars()
        .count()
        .saturating_sub(if lines == 0 { width } else { 0 });
    written.extend(std::iter::repeat_n('\n', lines));
    written.extend(std::iter::repeat_n(' ', missing));
}

fn position(before: &str) -> (usize, usize) {
    let line = before.matches('\n').count() + 1;
    let last = before.rsplit('\n').next().unwrap_or_default();
    (line, last.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use async_graphql::parser::{parse_query, types::Selection};
    use async_graphql_value::Value;
    use proptest::prelude::*;

    use super::*;

    /// The value of the argument in `{ f(a: LITERAL) }`.
    fn read(literal: &str) -> Option<String> {
        let document = format!("{{ f(a: {literal}) }}");
        let document = rewrite(&document).ok()?.into_owned();
        let parsed = parse_query(document).ok()?;
        let (_, operation) = parsed.operations.iter().next()?;
        let Selection::Field(field) = &operation.node.selection_set.node.items[0].node else {
            return None;
        };
        match &field.node.arguments.first()?.1.node {
            Value::String(text) => Some(text.clone()),
            _ => None,
        }
    }

    #[test]
    fn strings_have_the_value_that_the_specification_gives_them() {
        let cases = [
            (r#""""#, Some("")),
            (r#""simple""#, Some("simple")),
            (r#"" white space ""#, Some(" white space ")),
            (r#""quote \"""#, Some("quote \"")),
            (r#""escaped \n\r\b\t\f""#, Some("escaped \n\r\u{8}\t\u{c}")),
            (r#""slashes \\ \/""#, Some("slashes \\ /")),
            (r#""not an escape \\u0041""#, Some("not an escape \\u0041")),
            (
                r#""unicode \u1234\u5678\u90AB\ucdef""#,
                Some("unicode \u{1234}\u{5678}\u{90AB}\u{cdef}"),
            ),
            (r#""\u{1F600} \u{41}\u{000041}""#, Some("\u{1F600} AA")),
            (r#""\uD83D\uDE00""#, Some("\u{1F600}")),
            (r#""\uDBFF\uDFFF\uD800\uDC00""#, Some("\u{10FFFF}\u{10000}")),
            (r#""raw 😀 # no comment""#, Some("raw 😀 # no comment")),
            (r#""\u0022\u005c\u000a""#, Some("\"\\\n")),
            // Invalid in the specification.
            (r#""\uDEAD""#, None),
            (r#""\uD83D""#, None),
            (r#""\uD83D\uD83D""#, None),
            (r#""\uDE00\uD83D""#, None),
            (r#""\uD83D\n""#, None),
            (r#""\u{D83D}\u{DE00}""#, None),
            (r#""\u{110000}""#, None),
            (r#""\u{FFFFFFFFFFFFFFFFFFF}""#, None),
            (r#""\u{}""#, None),
            (r#""\u{12""#, None),
            (r#""\u12""#, None),
            (r#""\uXYZ1""#, None),
            (r#""\x41""#, None),
            (r#""\z \u0041""#, None),
            ("\"line\nend \\u0041\"", None),
            (r#""no end \u0041"#, None),
            (r#""no end \"#, None),
        ];
        for (literal, expected) in cases {
            assert_eq!(read(literal).as_deref(), expected, "{literal}");
        }
    }

    #[test]
    fn block_strings_have_the_value_that_the_specification_gives_them() {
        let cases = [
            (r#""""""""#, Some("")),
            (r#""""simple""""#, Some("simple")),
            (r#"""" white space """"#, Some(" white space ")),
            (r#""""contains " quote""""#, Some("contains \" quote")),
            (
                r#""""contains \""" quote""""#,
                Some("contains \"\"\" quote"),
            ),
            (r#""""\""" end""""#, Some("\"\"\" end")),
            ("\"\"\"multi\nline\"\"\"", Some("multi\nline")),
            (
                "\"\"\"multi\rline\r\nnormalized\"\"\"",
                Some("multi\nline\nnormalized"),
            ),
            (
                r#""""unescaped \n\r\b\t\f\u1234""""#,
                Some("unescaped \\n\\r\\b\\t\\f\\u1234"),
            ),
            (r#""""slashes \\ \/""""#, Some("slashes \\\\ \\/")),
            (
                "\"\"\"\n\n    Hello,\n      World!\n\n    Yours,\n      GraphQL.\n  \n\"\"\"",
                Some("Hello,\n  World!\n\nYours,\n  GraphQL."),
            ),
            ("\"\"\"\n    a\n  \n    b\n\"\"\"", Some("a\n\nb")),
            ("\"\"\"\n    a\n      \n    b\n\"\"\"", Some("a\n  \nb")),
            ("\"\"\"  first\n    second\"\"\"", Some("  first\nsecond")),
            ("\"\"\"\n\ttab\n\t\tmore\"\"\"", Some("tab\n\tmore")),
            ("\"\"\"\n \n\"\"\"", Some("")),
            ("\"\"\"no end", None),
        ];
        for (literal, expected) in cases {
            assert_eq!(read(literal).as_deref(), expected, "{literal:?}");
        }
    }

    #[test]
    fn what_follows_a_literal_keeps_its_place() {
        for literal in [
            r#""\u{1F600}""#,
            "\"\"\"\n  a\n  b\n  \"\"\"",
            r#""\uD83D\uDE00""#,
        ] {
            let document = format!("{{ f(a: {literal}) %");
            let before = document.find('%').map(|at| position(&document[..at]));
            let rewritten = rewrite(&document).unwrap();
            let after = rewritten.find('%').map(|at| position(&rewritten[..at]));
            assert_eq!(before, after, "{literal:?}");
        }
        let error = rewrite("{\n  f(a: \"\\uDEAD\") }").unwrap_err();
        assert_eq!(error.at, (2, 8));
    }

    #[test]
    fn comments_are_not_strings() {
        let document = "# \"\\uDEAD\n{ f(a: \"\\u0041\") # \"\"\" \n }";
        let expected = "# \"\\uDEAD\n{ f(a: \"A\"     ) # \"\"\" \n }";
        assert_eq!(rewrite(document).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn no_input_panics(text in "[\"\\\\{}u0dDeE# \n\r\u{e9}.]{0,60}") {
            let _ = rewrite(&text);
        }

        #[test]
        fn escaped_text_is_read_back(text in "\\PC{0,20}") {
            let mut escaped = String::new();
            for unit in text.encode_utf16() {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
            prop_assert_eq!(read(&format!("\"{escaped}\"")), Some(text));
        }
    }
}
