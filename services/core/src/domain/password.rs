//! What a new password must be like, and the one form in which passwords are hashed.

use quartet_common::problem::Rule;
use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;

use crate::{config::Passwords, domain::guessing::is_easily_guessed};

/// A password that may be stored, already in the form that is hashed.
#[derive(Clone, Debug)]
pub(crate) struct NewPassword(SecretString);

impl NewPassword {
    /// Length and blocklist, no rules of composition (ASVS 5 6.2, NIST SP 800-63B-4).
    ///
    /// `context` holds words that belong to the person: their address, their name.
    ///
    /// # Errors
    /// The rule that the password breaks: `too_short`, `too_long` or `easily_guessed`.
    pub(crate) fn parse(
        given: &SecretString,
        limits: &Passwords,
        context: &[&str],
    ) -> Result<Self, Rule> {
        check_size(given, limits)?;
        let password = normalised(given);
        let length = password.expose_secret().chars().count();
        if length < limits.min_length {
            let least = limits.min_length;
            return Err(Rule::new(
                "too_short",
                format!("must have at least {least} characters"),
            ));
        }
        let words: Vec<&str> = context.iter().copied().chain(["quartet"]).collect();
        if is_easily_guessed(password.expose_secret(), &words) {
            return Err(Rule::new(
                "easily_guessed",
                "must not be a common password, a simple pattern, or made of your own name",
            ));
        }
        Ok(Self(password))
    }

    pub(crate) fn into_secret(self) -> SecretString {
        self.0
    }
}

/// The bound that holds for every password, new or not: it limits the work of hashing.
///
/// # Errors
/// `too_long`, or `empty`.
pub(crate) fn check_size(given: &SecretString, limits: &Passwords) -> Result<(), Rule> {
    match given
        .expose_secret()
        .chars()
        .take(limits.max_length + 1)
        .count()
    {
        0 => Err(Rule::new("empty", "must not be empty")),
        length if length > limits.max_length => {
            let most = limits.max_length;
            Err(Rule::new(
                "too_long",
                format!("must have at most {most} characters"),
            ))
        }
        _ => Ok(()),
    }
}

/// Unicode's form NFC: the same password typed on another keyboard has the same bytes.
pub(crate) fn normalised(given: &SecretString) -> SecretString {
    given.expose_secret().nfc().collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Passwords = Passwords::for_tests();

    fn parse(text: &str) -> Result<NewPassword, &'static str> {
        NewPassword::parse(&text.into(), &LIMITS, &["ada"]).map_err(|rule| rule.code)
    }

    #[test]
    fn length_counts_characters_not_bytes() {
        assert_eq!(parse("äöüßéèêñçåøæþð").unwrap_err(), "too_short");
        assert!(parse("äöüßéèêñçåøæþðŋ").is_ok());
        assert!(parse(&"tangerine violin moss ".repeat(11)).is_ok());
        assert_eq!(parse(&"ä7".repeat(129)).unwrap_err(), "too_long");
        assert_eq!(parse("").unwrap_err(), "empty");
    }

    #[test]
    fn composed_and_decomposed_are_one_password() {
        let composed = parse("caf\u{e9} au lait, encore").unwrap().into_secret();
        let decomposed = parse("cafe\u{301} au lait, encore").unwrap().into_secret();
        assert_eq!(composed.expose_secret(), decomposed.expose_secret());
    }

    #[test]
    fn a_printed_password_shows_nothing() {
        let password = parse("correct horse battery staple").unwrap();
        assert!(!format!("{password:?}").contains("horse"));
    }
}
