//! Counts tokens and nested brackets without parsing: the parser of async-graphql is recursive, and
//! deep nesting would overflow its stack.

use super::strings::literal_length;

/// Levels of brackets, braces and parentheses.
const MAX_NESTING: usize = 40;

/// The limit that a document exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LexerError {
    TooManyTokens,
    TooDeep,
    /// A block string without an end. The parser must not see one: it would take its beginning for
    /// an empty string, and what follows, which is not counted here, for brackets.
    Unterminated,
}

/// Scans a document once, from left to right, and returns the number of tokens.
pub(super) fn scan(text: &str, max_tokens: usize) -> Result<usize, LexerError> {
    let mut rest = text.as_bytes();
    let (mut tokens, mut nesting) = (0, 0_usize);
    while let Some(&byte) = rest.first() {
        let length = match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b',' => {
                rest = &rest[1..];
                continue;
            }
            b'#' => {
                rest = &rest[rest
                    .iter()
                    .position(|b| matches!(b, b'\n' | b'\r'))
                    .unwrap_or(rest.len())..];
                continue;
            }
            b'"' => literal_length(rest).ok_or(LexerError::Unterminated)?,
            _ if is_word(byte) => rest.iter().position(|b| !is_word(*b)).unwrap_or(rest.len()),
            _ => 1,
        };
        match byte {
            b'{' | b'(' | b'[' => nesting += 1,
            b'}' | b')' | b']' => nesting = nesting.saturating_sub(1),
            _ => {}
        }
        tokens += 1;
        if tokens > max_tokens {
            return Err(LexerError::TooManyTokens);
        }
        if nesting > MAX_NESTING {
            return Err(LexerError::TooDeep);
        }
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// Names and numbers.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || byte == b'+'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_are_counted_outside_of_strings_and_comments() {
        let cases = [
            ("", 0),
            ("{ a }", 3),
            ("{a,b , c}", 5),
            ("query Q($a: Int = -1) { a }", 13),
            ("# {{{{ \n{ a }", 3),
            (r#"{ a(b: "}}} \" {{{") }"#, 8),
            ("{ a(b: \"\"\"{{ \" \\\"\"\" }}\"\"\") }", 8),
            ("...f", 4),
        ];
        for (text, tokens) in cases {
            assert_eq!(scan(text, 100), Ok(tokens), "{text}");
        }
    }

    #[test]
    fn too_many_tokens_and_too_deep_nesting_are_distinguished() {
        assert_eq!(scan(&"a ".repeat(11), 10), Err(LexerError::TooManyTokens));
        assert_eq!(scan(&"{a".repeat(5000), 100_000), Err(LexerError::TooDeep));
        assert_eq!(scan(&"[".repeat(5000), 100_000), Err(LexerError::TooDeep));
        assert_eq!(scan(&"{}".repeat(500), 1000), Ok(1000));
    }

    #[test]
    fn no_brackets_hide_in_a_block_string_that_does_not_end() {
        for end in ["", "\"", "\"\"", "\\\"\"\""] {
            let text = format!("{{a(x:[\"\"\"x\"{}{end}", "[".repeat(50));
            assert_eq!(scan(&text, 4000), Err(LexerError::Unterminated), "{end}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(text in "[\"\\\\{}a# \n\u{e9}.]{0,60}") {
            let _ = scan(&text, 1000);
        }
    }
}
