//! Names of settings.

use toml::{Table, Value};

use super::changes::leaves;

/// What the variables of all settings start with.
pub(super) const PREFIX: &str = "QUARTET_";

/// Beyond that, a name is another one.
const MAX_TYPOS: usize = 2;

/// The environment of the process. What is not UTF-8 holds replacement characters, which no setting
/// accepts; `std::env::vars` would panic and print the value.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (lossy(name), lossy(value)))
}

/// The environment variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// The name that an unknown key or variable was probably meant to be.
pub(super) fn similar(unknown: &str, defaults: &Table) -> Option<String> {
    let known: Vec<String> = match unknown.strip_prefix(PREFIX) {
        Some(_) => leaves(defaults, "")
            .iter()
            .map(|key| variable(key))
            .collect(),
        None => leaves(defaults, "")
            .into_iter()
            .chain(tables(defaults, ""))
            .collect(),
    };
    let length = unknown.strip_prefix(PREFIX).unwrap_or(unknown).len();
    let most = (length / 3).min(MAX_TYPOS);
    known
        .into_iter()
        .filter(|name| name.len().abs_diff(unknown.len()) <= most)
        .map(|name| (strsim::damerau_levenshtein(unknown, &name), name))
        .filter(|(typos, _)| *typos <= most)
        .min()
        .map(|(_, name)| name)
}

fn tables(table: &Table, prefix: &str) -> Vec<String> {
    let inner = |(name, value): (&String, &Value)| {
        let key = format!("{prefix}{name}");
        let inner = tables(value.as_table()?, &format!("{key}."));
        Some([key].into_iter().chain(inner))
    };
    table.iter().filter_map(inner).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_recognized_and_another_name_is_not() {
        let defaults: Table = "top = 1\n[server]\nlisten = 1\nlimit = 1\n[server.tls]\nkey = 1\n"
            .parse()
            .unwrap();
        for (unknown, meant) in [
            ("server.lisetn", Some("server.listen")),
            ("sever", Some("server")),
            ("server.tsl", Some("server.tls")),
            ("QUARTET_SERVER_LISEN", Some("QUARTET_SERVER_LISTEN")),
            ("QUARTET_SERVER_TLS", None),
            ("QUARTET_URL", None),
            ("server.port", None),
            ("tip", Some("top")),
            ("t", None),
        ] {
            assert_eq!(similar(unknown, &defaults).as_deref(), meant, "{unknown}");
        }
    }

    /// A name may come from anyone who writes the file; comparing costs its length times that of a key.
    #[test]
    fn a_long_name_is_compared_with_nothing() {
        let defaults: Table = "listen = 1\n".parse().unwrap();
        assert_eq!(similar(&"x".repeat(1_000_000), &defaults), None);
    }
}
