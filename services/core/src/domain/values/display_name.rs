//! The name under which others see a user.

use quartet_common::{problem::Rule, text as characters};
use unicode_normalization::UnicodeNormalization;

const MAX_CHARACTERS: usize = 100;

/// 1 to 100 characters without control characters and direction marks, at least one of them visible,
/// trimmed, in Unicode form NFC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DisplayName(String);

impl DisplayName {
    /// # Errors
    /// The rule that the name breaks: `empty`, `too_long` or `control_character`.
    pub(crate) fn parse(text: &str) -> Result<Self, Rule> {
        // NFC lengthens a text only by a small factor, so this bounds the work before it is done.
        if text.len() > MAX_CHARACTERS * 16 {
            return Err(too_long());
        }
        let name: String = text.trim().nfc().collect();
        if !characters::has_visible(&name) {
            return Err(Rule::new("empty", "must contain a visible character"));
        }
        if name.chars().count() > MAX_CHARACTERS {
            return Err(too_long());
        }
        // In the untrimmed text: `trim` would remove some of them at the ends.
        if text.chars().any(characters::is_control) {
            return Err(Rule::new(
                "control_character",
                "must not contain control characters or direction marks",
            ));
        }
        Ok(Self(name))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

fn too_long() -> Rule {
    Rule::new(
        "too_long",
        format!("must have at most {MAX_CHARACTERS} characters"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_composed() {
        assert_eq!(
            DisplayName::parse("  Zoe\u{308} ").unwrap().as_str(),
            "Zo\u{eb}"
        );
        assert_eq!(
            DisplayName::parse(&"名".repeat(100))
                .unwrap()
                .as_str()
                .chars()
                .count(),
            100
        );
    }

    #[test]
    fn unprintable_empty_and_long_names_are_rejected() {
        let long = "x".repeat(101);
        let huge = "x".repeat(100_000);
        for text in [
            "",
            "  ",
            "a\nb",
            "a\n",
            "a\u{0}b",
            "a\u{202e}b",
            "a\u{61c}b",
            "\u{200b}",
            "\u{3164}\u{ad}",
            "a\u{7f}",
            &long,
            &huge,
        ] {
            assert!(DisplayName::parse(text).is_err(), "{text:?}");
        }
    }
}
