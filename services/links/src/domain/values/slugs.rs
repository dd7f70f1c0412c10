//! Slugs: the last path segment of a short URL.

use quartet_common::problem::Rule;
use rand::RngExt;

/// Base 58 (no look-alikes 0 O I l) without vowels, so that no words appear.
const ALPHABET: &[u8; 50] = b"123456789bcdfghjkmnpqrstvwxyzBCDFGHJKLMNPQRSTVWXYZ";
const MIN_CHARS: usize = 3;
const MAX_CHARS: usize = 64;
/// Lengths of the random slugs that are tried for a new link: five of the usual length, then
/// longer ones, so that creation succeeds even when the short ones run out.
const LENGTHS: [usize; 8] = [7, 7, 7, 7, 7, 8, 10, 12];
/// Names that gateways, browsers and Quartet itself use, or may use later.
const RESERVED: [&str; 36] = [
    "about",
    "account",
    "admin",
    "api",
    "app",
    "apple-app-site-association",
    "assets",
    "auth",
    "blog",
    "console",
    "dashboard",
    "docs",
    "favicon",
    "graphql",
    "health",
    "help",
    "index",
    "links",
    "login",
    "logout",
    "metrics",
    "new",
    "null",
    "oauth",
    "openapi",
    "ready",
    "robots",
    "root",
    "settings",
    "sitemap",
    "static",
    "status",
    "support",
    "undefined",
    "well-known",
    "www",
];

/// A well-formed slug: 3 to 64 ASCII letters, digits, hyphens and underscores.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slug(String);

/// Generates random slugs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlugSource {
    /// Letters of the alphabet in use; tests reduce them to force collisions.
    pub(crate) letters: usize,
}

impl Default for SlugSource {
    fn default() -> Self {
        Self {
            letters: ALPHABET.len(),
        }
    }
}

impl Slug {
    /// A slug to look up.
    pub(crate) fn parse(text: &str) -> Result<Self, Rule> {
        if !(MIN_CHARS..=MAX_CHARS).contains(&text.chars().count()) {
            let detail = format!("must have {MIN_CHARS} to {MAX_CHARS} characters");
            return Err(Rule::new("invalid_length", detail));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !text.bytes().all(allowed) {
            let detail = "must contain only the letters a to z and A to Z, digits, - and _";
            return Err(Rule::new("invalid_characters", detail));
        }
        Ok(Self(text.to_owned()))
    }

    /// A slug that an owner chooses, which must also be free of reserved words.
    pub(crate) fn chosen(text: &str) -> Result<Self, Rule> {
        let slug = Self::parse(text)?;
        let ends = [text.as_bytes()[0], text.as_bytes()[text.len() - 1]];
        if !ends.iter().all(u8::is_ascii_alphanumeric) {
            let detail = "must start and end with a letter or a digit";
            return Err(Rule::new("invalid_characters", detail));
        }
        if RESERVED.iter().any(|word| word.eq_ignore_ascii_case(text)) {
            return Err(Rule::new("reserved", "must not be a reserved word"));
        }
        Ok(slug)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Slug> for String {
    fn from(slug: Slug) -> Self {
        slug.0
    }
}

impl SlugSource {
    /// Slugs to try in this order until one is free.
    pub(crate) fn candidates(self) -> impl Iterator<Item = Slug> {
        LENGTHS.into_iter().map(move |length| self.random(length))
    }

    fn random(self, length: usize) -> Slug {
        // The thread-local generator is cryptographically secure (ChaCha, seeded by the OS).
        let mut random = rand::rng();
        let letter = |_| char::from(ALPHABET[random.random_range(0..self.letters)]);
        Slug((0..length).map(letter).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn random_slugs_are_valid_and_have_seven_letters_without_vowels() {
        for slug in (0..500).flat_map(|_| SlugSource::default().candidates().take(5)) {
            assert_eq!(slug.as_str().len(), 7);
            assert!(
                !slug
                    .as_str()
                    .contains(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U', '0', 'l'])
            );
            assert_eq!(Slug::chosen(slug.as_str()), Ok(slug));
        }
    }

    #[test]
    fn candidates_get_longer_after_five_tries() {
        let lengths: Vec<usize> = SlugSource::default()
            .candidates()
            .map(|slug| slug.as_str().len())
            .collect();
        assert_eq!(lengths, LENGTHS);
        assert!(lengths[5..].iter().all(|length| *length > 7));
    }

    #[test]
    fn invalid_chosen_slugs_are_rejected_with_a_code() {
        for good in ["abc", "A-b_9", "sale2026", &"x".repeat(64)] {
            assert!(Slug::chosen(good).is_ok(), "{good}");
        }
        let long = "x".repeat(65);
        let cases = [
            ("", "invalid_length"),
            ("ab", "invalid_length"),
            (long.as_str(), "invalid_length"),
            ("a b", "invalid_characters"),
            ("päper", "invalid_characters"),
            ("раypal", "invalid_characters"),
            ("a/b", "invalid_characters"),
            ("-abc", "invalid_characters"),
            ("abc_", "invalid_characters"),
            ("a\0b", "invalid_characters"),
            ("Admin", "reserved"),
            ("graphql", "reserved"),
        ];
        for (text, code) in cases {
            assert_eq!(Slug::chosen(text).unwrap_err().code, code, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            if let Ok(slug) = Slug::chosen(&text) {
                prop_assert_eq!(slug.as_str(), text);
            }
        }
    }
}
