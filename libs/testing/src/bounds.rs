//! Settings whose numbers have no bound.

use std::fmt::Display;

use quartet_common::config::settings;

/// Larger than any number that makes sense, at the ends of types.
const HUGE: [&str; 2] = ["9223372036854775807", "18446744073709551615"];
/// The same for what are not bytes.
const LARGE: [&str; 2] = ["4294967295", "4294967296"];

/// Tries huge numbers for every integer among the defaults. `load` reads and checks the settings
/// with one variable; what it accepts, or refuses without naming the setting, is returned.
pub fn accepted_numbers<E: Display>(
    defaults: &[&str],
    load: impl Fn(&str, &str) -> Result<(), E>,
) -> Vec<String> {
    let all = settings(defaults).into_iter();
    let integers = all.filter(|setting| setting.default.parse::<i64>().is_ok());
    let mut accepted = Vec::new();
    for setting in integers {
        let variable = format!("QUARTET_{}", setting.key.replace('.', "_").to_uppercase());
        let large = LARGE
            .into_iter()
            .filter(|_| !setting.key.ends_with("_bytes"));
        for value in HUGE.into_iter().chain(large) {
            match load(&variable, value) {
                Err(error) if error.to_string().contains(&setting.key) => {}
                Err(error) => accepted.push(format!("{} = {value}: {error}", setting.key)),
                Ok(()) => accepted.push(format!("{} = {value}", setting.key)),
            }
        }
    }
    accepted
}
