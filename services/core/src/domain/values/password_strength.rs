//! Whether a password is easy to guess, as estimated by zxcvbn (ADR 13).

use zxcvbn::{Score, zxcvbn};

/// Characters that are looked at. The estimate takes quadratic time and tries combinations of
/// letter substitutions: up to 1 s of CPU for 100 characters, 0.1 s for 32.
const MAX_CHARACTERS: usize = 32;
/// Shorter words are part of too many others.
const MIN_KNOWN_WORD: usize = 3;

/// Whether fewer than 10^10 guesses find the password. `known_words` belong to the user or to the
/// product, and an attacker tries them first.
pub(crate) fn is_easily_guessed(password: &str, known_words: &[&str]) -> bool {
    let start: String = password.chars().take(MAX_CHARACTERS).collect();
    let is_weak = |text: &str| zxcvbn(text, known_words).score() < Score::Four;
    let (start, remainder) = (&start, without_known_words(&start, known_words));
    is_weak(start) || remainder.is_some_and(|remainder| is_weak(&remainder))
}

/// What an attacker who knows the words still has to guess; `None` when the password contains none
/// of them. zxcvbn alone rates any sequence of four known words as strong.
fn without_known_words(password: &str, known_words: &[&str]) -> Option<String> {
    let lower = password.to_lowercase();
    let mut remainder = lower.clone();
    for word in known_words {
        let word = word.to_lowercase();
        let parts = word.split(|c: char| !c.is_alphanumeric());
        for part in parts.chain([word.as_str()]) {
            if part.chars().count() >= MIN_KNOWN_WORD {
                remainder = remainder.replace(part, "");
            }
        }
    }
    (remainder != lower).then_some(remainder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: [&str; 3] = ["ada.lovelace", "Countess of Lovelace", "quartet"];

    #[test]
    fn guessable_passwords_are_rejected() {
        let bad = [
            "passwordpassword",
            "Password12345678",
            "123456789012345",
            "aaaaaaaaaaaaaaaa",
            "qwertyuiopasdfgh",
            "abcdefghijklmnop",
            "abc1abc1abc1abc1",
            "iloveyou12345678",
            "P@ssw0rdP@ssw0rd",
            "letmeinletmein!!",
            "quartetquartet2026",
            "lovelacequartet1",
            "adalovelace1815!",
            "Countess-Lovelace",
            "987654321098765",
            "monkeydragon1234",
        ];
        for password in bad {
            assert!(is_easily_guessed(password, &CONTEXT), "{password}");
        }
    }

    #[test]
    fn passphrases_and_random_passwords_are_accepted() {
        let good = [
            "correct horse battery staple",
            "ein Fluss ohne Wiederkehr",
            "k7#Vq9!xWz2&Lp4m",
            "tangerine-violin-moss",
            "quartet of angry wombats",
            "9f8e1c7b3a5d2460f",
            "plätschernde Bäche im Mai",
            "839201748593021",
        ];
        for password in good {
            assert!(!is_easily_guessed(password, &CONTEXT), "{password}");
        }
    }

    #[test]
    fn known_words_add_no_strength() {
        let guessable = ["adalovelaceada1815", "Ada.Lovelace.1815", "lovelace1815ada"];
        for password in guessable {
            assert!(is_easily_guessed(password, &CONTEXT), "{password}");
        }
        assert!(!is_easily_guessed(
            "lovelace-copper-meadow-lantern",
            &CONTEXT
        ));
    }

    #[test]
    fn only_the_beginning_of_a_long_password_counts() {
        let filler = "a".repeat(MAX_CHARACTERS);
        assert!(is_easily_guessed(
            &format!("{filler} correct horse battery staple"),
            &[]
        ));
        let long: String = ('\u{4e00}'..).step_by(7).take(256).collect();
        assert!(!is_easily_guessed(&long, &CONTEXT));
    }
}
