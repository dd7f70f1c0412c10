//! Passwords: their size, their form, and what makes a new one acceptable.

use quartet_common::problem::Rule;
use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;

use crate::{config::Passwords, domain::values::password_strength::is_easily_guessed};

/// A password of 1 to `max_length` characters, in Unicode form NFC: the same password typed on
/// another keyboard has the same bytes.
#[derive(Clone, Debug)]
pub(crate) struct Password(SecretString);

/// A password that is long enough to be set. No rules of composition (ASVS 5 6.2, NIST
/// SP 800-63B-4).
#[derive(Clone, Debug)]
pub(crate) struct NewPassword(Password);

impl Password {
    /// # Errors
    /// The rule that the password breaks: `empty` or `too_long`.
    pub(crate) fn parse(text: &SecretString, limits: &Passwords) -> Result<Self, Rule> {
        let text = text.expose_secret();
        // Counted up to the limit: the bound on the work comes before the work.
        match text.chars().take(limits.max_length + 1).count() {
            0 => Err(Rule::new("empty", "must not be empty")),
            length if length > limits.max_length => {
                let max = limits.max_length;
                Err(Rule::new(
                    "too_long",
                    format!("must have at most {max} characters"),
                ))
            }
            _ => Ok(Self(text.nfc().collect::<String>().into())),
        }
    }

    pub(crate) fn into_secret(self) -> SecretString {
        self.0
    }
}

impl NewPassword {
    /// # Errors
    /// The rule that the password breaks: `empty`, `too_short` or `too_long`.
    pub(crate) fn parse(text: &SecretString, limits: &Passwords) -> Result<Self, Rule> {
        let password = Password::parse(text, limits)?;
        let min = limits.min_length;
        if password.0.expose_secret().chars().count() < min {
            return Err(Rule::new(
                "too_short",
                format!("must have at least {min} characters"),
            ));
        }
        Ok(Self(password))
    }

    /// The secret, which is available only after the check of its strength. `personal_words` are
    /// easy to guess for those who know the user: email, display name. CPU-bound, up to 0.1 s.
    ///
    /// # Errors
    /// The rule `easily_guessed`.
    pub(crate) fn into_strong_secret(self, personal_words: &[&str]) -> Result<SecretString, Rule> {
        let Password(secret) = self.0;
        let words: Vec<&str> = personal_words.iter().copied().chain(["quartet"]).collect();
        if is_easily_guessed(secret.expose_secret(), &words) {
            return Err(Rule::new(
                "easily_guessed",
                "must not be a common password, a simple pattern, or based on the user's name",
            ));
        }
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Passwords = Passwords::for_tests();

    fn parse(text: &str) -> Result<SecretString, &'static str> {
        NewPassword::parse(&text.into(), &LIMITS)
            .and_then(|password| password.into_strong_secret(&["ada"]))
            .map_err(|rule| rule.code)
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
    fn composed_and_decomposed_forms_are_equal() {
        let composed = parse("caf\u{e9} au lait, encore").unwrap();
        let decomposed = parse("cafe\u{301} au lait, encore").unwrap();
        assert_eq!(composed.expose_secret(), decomposed.expose_secret());
    }

    #[test]
    fn debug_output_does_not_reveal_the_password() {
        let password = NewPassword::parse(&"correct horse battery staple".into(), &LIMITS);
        assert!(!format!("{:?}", password.unwrap()).contains("horse"));
    }
}
