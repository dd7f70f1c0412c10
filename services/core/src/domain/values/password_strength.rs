//! Tells which passwords somebody would try first.
//!
//! With fifteen characters and more, what people choose badly is not an entry of a list but
//! made of entries: `passwordpassword`, `iloveyou12345678`, their own name and a year. So a
//! password is covered with words of a list of common passwords, with words that belong to the
//! person or to the product, and with runs (`1234`, `aaaa`, `qwert`). If at most two listed
//! words leave hardly anything uncovered, the password is easily guessed. Passphrases of three
//! and more words pass.

use std::{collections::HashSet, sync::LazyLock};

const LIST: &str = include_str!("../../../data/common_passwords.txt");
/// Entries of the list that a password may need at most to count as easily guessed.
const MAX_WORDS: usize = 2;
/// A password with this many characters that nothing covers is not easily guessed.
const ENOUGH_UNCOVERED: usize = 6;
/// A password that repeats a part shorter than this is easily guessed.
const MIN_REPEATED_PART: usize = 8;
const MIN_RUN: usize = 3;
const MIN_WORD: usize = 4;
const MIN_CONTEXT_WORD: usize = 3;
const KEYBOARD_ROWS: [&str; 6] = [
    "1234567890",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "zxcvbnm",
];

static COMMON: LazyLock<HashSet<String>> = LazyLock::new(|| {
    LIST.lines()
        .filter(|line| !line.starts_with("#!"))
        .map(str::to_lowercase)
        .collect()
});
static LONGEST: LazyLock<usize> =
    LazyLock::new(|| COMMON.iter().map(String::len).max().unwrap_or(0));

/// Whether the password is common, repetitive, or made of common and personal words.
///
/// `context` holds what is known of the person and the product; words under three characters
/// are passed over.
pub(crate) fn is_easily_guessed(password: &str, context: &[&str]) -> bool {
    let letters: Vec<char> = password.to_lowercase().chars().collect();
    if letters.is_empty() || repeats_a_short_part(&letters) {
        return true;
    }
    let context = context_words(context);
    let uncovered = least_uncovered(&letters, &context);
    uncovered < ENOUGH_UNCOVERED.min(letters.len().div_ceil(2))
}

/// Whole names, and the parts of names that have several.
fn context_words(context: &[&str]) -> Vec<Vec<char>> {
    let mut words = HashSet::new();
    for text in context {
        let text = text.to_lowercase();
        words.extend(
            text.split(|c: char| !c.is_alphanumeric())
                .map(str::to_owned),
        );
        words.insert(text);
    }
    words
        .into_iter()
        .map(|word| word.chars().collect::<Vec<char>>())
        .filter(|word| word.len() >= MIN_CONTEXT_WORD)
        .collect()
}

fn repeats_a_short_part(letters: &[char]) -> bool {
    let parts = 1..MIN_REPEATED_PART.min(letters.len() / 2 + 1);
    parts
        .into_iter()
        .any(|part| letters.iter().zip(&letters[part..]).all(|(a, b)| a == b))
}

/// The fewest characters that remain when words and runs cover the rest.
///
/// `best[words][i]`: the fewest uncovered among the first `i`, with that many listed words.
fn least_uncovered(letters: &[char], context: &[Vec<char>]) -> usize {
    let plain: Vec<char> = letters.iter().copied().map(without_disguise).collect();
    let mut best = vec![vec![usize::MAX; letters.len() + 1]; MAX_WORDS + 1];
    best[0][0] = 0;
    for start in 0..letters.len() {
        let run = run_length(&letters[start..]);
        let listed = listed_lengths(&letters[start..], &plain[start..]);
        for words in 0..=MAX_WORDS {
            let here = best[words][start];
            if here == usize::MAX {
                continue;
            }
            lower(&mut best[words][start + 1], here + 1);
            for length in MIN_RUN..=run {
                lower(&mut best[words][start + length], here);
            }
            for word in context {
                if letters[start..].starts_with(word) || plain[start..].starts_with(word) {
                    lower(&mut best[words][start + word.len()], here);
                }
            }
            if words < MAX_WORDS {
                for length in &listed {
                    lower(&mut best[words + 1][start + length], here);
                }
            }
        }
    }
    best.iter()
        .map(|row| row[letters.len()])
        .min()
        .unwrap_or(letters.len())
}

fn lower(place: &mut usize, value: usize) {
    *place = (*place).min(value);
}

/// Lengths of the listed words that stand at the beginning, disguised ones too.
fn listed_lengths(letters: &[char], plain: &[char]) -> Vec<usize> {
    let is_listed = |text: &[char]| COMMON.contains(&text.iter().collect::<String>());
    (MIN_WORD..=letters.len().min(*LONGEST))
        .filter(|length| is_listed(&letters[..*length]) || is_listed(&plain[..*length]))
        .collect()
}

/// `p4$$w0rd` is `password`.
fn without_disguise(letter: char) -> char {
    match letter {
        '@' | '4' => 'a',
        '3' => 'e',
        '1' | '!' => 'i',
        '0' => 'o',
        '$' | '5' => 's',
        '7' => 't',
        other => other,
    }
}

/// How many characters from the beginning go on in one way: the same, the next, the one before,
/// or along a row of the keyboard.
fn run_length(letters: &[char]) -> usize {
    let goes_on: [fn(char, char) -> bool; 5] = [
        |a, b| a == b,
        |a, b| u32::from(a) + 1 == u32::from(b),
        |a, b| u32::from(a) == u32::from(b) + 1,
        is_right_neighbour,
        |a, b| is_right_neighbour(b, a),
    ];
    goes_on
        .iter()
        .map(|next| {
            1 + letters
                .windows(2)
                .take_while(|pair| next(pair[0], pair[1]))
                .count()
        })
        .max()
        .unwrap_or(0)
        .min(letters.len())
}

/// Rows wrap around, so that `8901` is a run as well.
fn is_right_neighbour(a: char, b: char) -> bool {
    KEYBOARD_ROWS.iter().any(|row| {
        row.chars()
            .zip(row.chars().cycle().skip(1))
            .any(|p| p == (a, b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: [&str; 3] = ["ada.lovelace", "Countess of Lovelace", "quartet"];

    #[test]
    fn the_list_has_what_a_reviewer_asks_for() {
        assert!(COMMON.len() >= 3000, "{}", COMMON.len());
    }

    #[test]
    fn what_attackers_try_first_is_refused() {
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
    fn passphrases_and_random_ones_pass() {
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
    fn the_longest_password_is_judged_without_trouble() {
        let long: String = "x7"
            .chars()
            .chain(('\u{4e00}'..).step_by(7).take(254))
            .collect();
        assert!(!is_easily_guessed(&long, &CONTEXT));
        assert!(is_easily_guessed(&"ab".repeat(128), &[]));
    }
}
