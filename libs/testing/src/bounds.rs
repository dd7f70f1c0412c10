//! Numbers among the settings: that they are bounded, and that their comments name the bounds.

use std::fmt::Display;

use quartet_common::config::{Setting, settings};

/// Larger than any number that makes sense, at the ends of types.
const HUGE: [&str; 2] = ["9223372036854775807", "18446744073709551615"];
/// The same for what are not bytes.
const LARGE: [&str; 2] = ["4294967295", "4294967296"];

/// Tries huge numbers for every integer among the defaults. `load` reads and checks the settings
/// with one variable; what it accepts, or refuses without naming the setting, is returned.
///
/// The error for one of them has to name the bounds, as in `between 1 and 100`, and the comment of the
/// setting to name them as `1 to 100`, where one of the two may be another setting.
pub fn accepted_numbers<E: Display>(
    defaults: &[&str],
    load: impl Fn(&str, &str) -> Result<(), E>,
) -> Vec<String> {
    let all = settings(defaults);
    let integers = all
        .iter()
        .filter(|setting| setting.default.parse::<i64>().is_ok());
    let mut accepted = Vec::new();
    for setting in integers {
        let variable = format!("QUARTET_{}", setting.key.replace('.', "_").to_uppercase());
        let large = LARGE
            .into_iter()
            .filter(|_| !setting.key.ends_with("_bytes"));
        let mut bounds = None;
        for value in HUGE.into_iter().chain(large) {
            match load(&variable, value).map_err(|error| error.to_string()) {
                Err(error) if error.contains(&setting.key) => bounds = bounds.or(named(&error)),
                Err(error) => accepted.push(format!("{} = {value}: {error}", setting.key)),
                Ok(()) => accepted.push(format!("{} = {value}", setting.key)),
            }
        }
        // A number of bytes may be one of 32 bits.
        let bounds = bounds.or_else(|| named(&load(&variable, LARGE[0]).err()?.to_string()));
        match bounds {
            None => accepted.push(format!("{}: no error names its bounds", setting.key)),
            Some((min, max)) if !documents(&comment(setting, &all), &min, &max, &all) => {
                accepted.push(format!("{}: {min} to {max} is not documented", setting.key));
            }
            Some(_) => {}
        }
    }
    accepted
}

/// The bounds in an error.
fn named(error: &str) -> Option<(String, String)> {
    let (_, bounds) = error.split_once("between ")?;
    let mut words = bounds.split_whitespace();
    let (min, and, max) = (words.next()?, words.next()?, words.next()?);
    (and == "and").then(|| (min.to_owned(), max.to_owned()))
}

/// The comment of a setting. The first of several tables of one kind documents the keys of all.
fn comment(setting: &Setting, all: &[Setting]) -> String {
    let kind = |key: &str| {
        let (table, name) = (key.split('.').next(), key.rsplit('.').next());
        (table.map(str::to_owned), name.map(str::to_owned))
    };
    let same = all
        .iter()
        .filter(|other| kind(&other.key) == kind(&setting.key));
    let mut comments = [setting].into_iter().chain(same).map(|other| &other.doc);
    let first = comments.find(|comment| !comment.is_empty());
    first.cloned().unwrap_or_default()
}

fn documents(comment: &str, min: &str, max: &str, all: &[Setting]) -> bool {
    let words: Vec<&str> = comment
        .split_whitespace()
        .map(|word| word.trim_matches(|c| "(),.;:".contains(c)))
        .collect();
    let is_setting = |word: &str| {
        all.iter()
            .any(|setting| setting.key.rsplit('.').next() == Some(word))
    };
    words.windows(3).any(|range| {
        let [from, "to", to] = range else {
            return false;
        };
        match (*from == min, *to == max) {
            (true, is_max) => is_max || is_setting(to),
            (false, is_max) => is_max && is_setting(from),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: &str = "# One (1 to 9).\none = 1\n# Two, one to 9.\ntwo = 2\n";

    fn load(variable: &str, value: &str) -> Result<(), String> {
        let number: u128 = value.parse().map_err(|_| value.to_owned())?;
        let key = variable.replace("QUARTET_", "").to_lowercase();
        let refused = format!("setting `{key}`: must be between 1 and 9");
        (number < 10).then_some(()).ok_or(refused)
    }

    #[test]
    fn documented_bounds_are_those_of_the_error() {
        assert!(accepted_numbers(&[DEFAULTS], load).is_empty());
        for (right, wrong) in [
            ("1 to 9", "0 to 9"),
            ("1 to 9", "1 to 10"),
            ("(1 to 9)", ""),
        ] {
            let changed = DEFAULTS.replacen(right, wrong, 1);
            assert_eq!(
                accepted_numbers(&[&changed], load),
                ["one: 1 to 9 is not documented"],
                "{wrong}"
            );
        }
        let silent = |_: &str, _: &str| Err("setting `one` and `two`: too large");
        assert_eq!(accepted_numbers(&[DEFAULTS], silent).len(), 2);
    }
}
