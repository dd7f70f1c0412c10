//! Settings for people to read and for replicas to compare, apart from secrets.

use std::fmt;

use serde_json::Value as Json;
use toml::{Table, Value};
use url::Url;

use super::Settings;

/// Stands in for a secret.
pub const HIDDEN: &str = "(hidden)";

/// Settings without their secrets, and those.
#[derive(Clone, Default)]
pub struct ShownSettings {
    /// As nested objects. A secret that is set is [`HIDDEN`]; an empty one stays empty.
    pub settings: Json,
    /// Key and value of each secret that is set, in the order of the keys.
    pub secrets: Vec<(String, String)>,
}

impl fmt::Debug for ShownSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShownSettings")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Every setting; `is_secret` says which ones are hidden, by their names from the outside in. User and
    /// password in a URL are always hidden.
    pub fn shown(&self, is_secret: &dyn Fn(&[&str]) -> bool) -> ShownSettings {
        let mut shown = ShownSettings::default();
        shown.settings = show_table(&self.table, &mut Vec::new(), is_secret, &mut shown.secrets);
        shown
    }
}

type Secrets = Vec<(String, String)>;

/// In the order of the names, whatever that of the file is.
fn show_table<'t>(
    table: &'t Table,
    path: &mut Vec<&'t str>,
    is_secret: &dyn Fn(&[&str]) -> bool,
    secrets: &mut Secrets,
) -> Json {
    let mut names: Vec<&String> = table.keys().collect();
    names.sort();
    let mut object = serde_json::Map::new();
    for name in names {
        path.push(name);
        let value = show(&table[name.as_str()], path, is_secret, secrets);
        path.pop();
        object.insert(name.clone(), value);
    }
    Json::Object(object)
}

fn show<'t>(
    value: &'t Value,
    path: &mut Vec<&'t str>,
    is_secret: &dyn Fn(&[&str]) -> bool,
    secrets: &mut Secrets,
) -> Json {
    let is_hidden = is_secret(path);
    let mut hide = |text: &str| secrets.push((path.join("."), text.to_owned()));
    match value {
        Value::String(text) if text.is_empty() => Json::from(""),
        Value::String(text) if is_hidden => {
            hide(text);
            Json::from(HIDDEN)
        }
        Value::String(text) => match without_login(text) {
            Some(shown) => {
                hide(text);
                Json::from(shown)
            }
            None => Json::from(text.as_str()),
        },
        Value::Integer(number) if !is_hidden => Json::from(*number),
        Value::Float(number) if !is_hidden => Json::from(*number),
        Value::Boolean(flag) if !is_hidden => Json::from(*flag),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {
            hide(&value.to_string());
            Json::from(HIDDEN)
        }
        Value::Datetime(time) => Json::from(time.to_string()),
        Value::Array(items) => items
            .iter()
            .map(|item| show(item, path, is_secret, secrets))
            .collect(),
        Value::Table(table) => show_table(table, path, is_secret, secrets),
    }
}

/// The same URL without user and password. `None`: it has neither, or is no URL.
fn without_login(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if !authority.contains('@') {
        return None;
    }
    let Ok(mut url) = Url::parse(text) else {
        return Some(format!("{scheme}://{HIDDEN}"));
    };
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    Some(match cleared {
        Ok(()) => url.to_string(),
        Err(()) => format!("{scheme}://{HIDDEN}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_apart_from_what_is_shown() {
        let text = "b = 1\na = [\"x\", \"y\"]\n[t]\nsecret = \"hush\"\nempty_secret = \"\"\n\
                    url = \"redis://user:hush@host:1/0\"\nodd = \"://a@b\"\n\
                    list_secret = [\"one\", \"two\"]\nnumber_secret = 7\n\
                    [t.inner_secret]\nname = \"hush\"\n[t.plain]\nx = \"https://host/@a\"\n";
        let settings = Settings::new(text.parse().unwrap(), Vec::new());
        let is_secret = |path: &[&str]| path.iter().any(|name| name.ends_with("secret"));
        let shown = settings.shown(&is_secret);
        let expected = json!({
            "a": ["x", "y"],
            "b": 1,
            "t": {
                "secret": HIDDEN,
                "empty_secret": "",
                "url": "redis://host:1/0",
                "odd": format!("://{HIDDEN}"),
                "list_secret": [HIDDEN, HIDDEN],
                "number_secret": HIDDEN,
                "inner_secret": { "name": HIDDEN },
                "plain": { "x": "https://host/@a" },
            },
        });
        assert_eq!(shown.settings, expected);
        let keys: Vec<&str> = shown.secrets.iter().map(|(key, _)| key.as_str()).collect();
        let expected = [
            "t.inner_secret.name",
            "t.list_secret",
            "t.list_secret",
            "t.number_secret",
            "t.odd",
            "t.secret",
            "t.url",
        ];
        assert_eq!(keys, expected);
        assert!(!format!("{shown:?}").contains("hush"));
    }
}
