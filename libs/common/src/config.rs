//! Settings in layers: embedded defaults < TOML file < environment < `*_FILE`.
//!
//! The defaults are a commented TOML text, which is also the reference: `--help` and
//! `docs/config.md` are generated from it, and a key that it does not contain is unknown.
//! Key `a.b_c` is the variable `QUARTET_A_B_C`; `QUARTET_A_B_C_FILE` names a file
//! that holds the value.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use toml::{Table, Value};
use url::Url;

use crate::net::TrustedProxies;

/// The defaults of the sections below, for services that have a database.
pub const COMMON_DEFAULTS: &str = include_str!("default.toml");
/// A longer timeout is a mistake.
const MAX_TIMEOUT_SECONDS: u64 = 86_400;
/// With a larger difference between clocks, expiry has no meaning.
const MAX_LEEWAY_SECONDS: u64 = 300;
const PREFIX: &str = "QUARTET_";
/// Variables that other tools use for the same settings.
const ALIASES: [(&str, &str); 4] = [
    ("DATABASE_URL", "database.url"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "telemetry.otlp_protocol"),
    ("RUST_LOG", "telemetry.log"),
];
/// Variables with the prefix that are not settings.
const NOT_SETTINGS: [&str; 2] = ["QUARTET_CONFIG", "QUARTET_TEST_DATABASE_URL"];

/// An error in the settings, in one line that names the key. Values never appear: they may be
/// secrets.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{origin}cannot read {path}")]
    Read {
        /// The variable that names the file, with a colon; empty for the settings file.
        origin: String,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{origin}: {message}")]
    Syntax { origin: String, message: String },
    #[error("{origin}: unknown setting `{key}`")]
    Unknown { origin: String, key: String },
    #[error("setting `{key}` ({origin}): {message}")]
    Invalid {
        key: String,
        origin: String,
        message: String,
    },
}

impl ConfigError {
    /// For rules that types do not express.
    pub fn invalid(key: &str, message: impl Into<String>) -> Self {
        Self::Invalid {
            key: key.into(),
            origin: variable(key),
            message: message.into(),
        }
    }
}

/// Requires a number to be within its bounds; `key` is the setting that holds it.
///
/// # Errors
/// [`ConfigError::Invalid`] with the bounds.
pub fn within<T: PartialOrd + Display>(
    key: &str,
    value: T,
    bounds: RangeInclusive<T>,
) -> Result<(), ConfigError> {
    if bounds.contains(&value) {
        return Ok(());
    }
    let (min, max) = (bounds.start(), bounds.end());
    Err(ConfigError::invalid(
        key,
        format!("must be between {min} and {max}"),
    ))
}

/// Requires a number to be at least `min`.
///
/// # Errors
/// [`ConfigError::Invalid`] with the bound.
pub fn at_least<T: PartialOrd + Display>(key: &str, value: T, min: T) -> Result<(), ConfigError> {
    if value >= min {
        return Ok(());
    }
    Err(ConfigError::invalid(key, format!("must be at least {min}")))
}

/// The HTTP side of a service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    pub body_limit_bytes: usize,
    pub request_timeout_seconds: u64,
    pub body_timeout_seconds: u64,
    pub header_timeout_seconds: u64,
    pub drain_seconds: u64,
    pub shutdown_grace_seconds: u64,
    pub max_connections: usize,
    pub trusted_proxies: Vec<IpNet>,
}

/// The service's Postgres.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: SecretString,
    pub max_connections: u32,
    pub acquire_timeout_seconds: u64,
    pub statement_timeout_seconds: u64,
}

/// Which access tokens are accepted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    #[serde(deserialize_with = "empty_as_none")]
    pub issuer: Option<String>,
    #[serde(deserialize_with = "empty_as_none")]
    pub audience: Option<String>,
    #[serde(deserialize_with = "empty_as_none")]
    pub token_type: Option<String>,
    #[serde(deserialize_with = "empty_as_none")]
    pub jwks_url: Option<Url>,
    #[serde(deserialize_with = "empty_as_none")]
    pub hs256_secret: Option<SecretString>,
    pub jwks_refresh_seconds: u64,
    pub leeway_seconds: u64,
}

/// Logs and traces.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub log: String,
    #[serde(deserialize_with = "empty_as_none")]
    pub otlp_endpoint: Option<Url>,
    pub otlp_protocol: OtlpProtocol,
    pub trace_sample_ratio: f64,
}

/// How spans reach the collector, by the names of the OpenTelemetry specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum OtlpProtocol {
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    #[serde(rename = "grpc")]
    Grpc,
}

impl Server {
    pub fn trusted(&self) -> TrustedProxies {
        TrustedProxies::new(self.trusted_proxies.clone())
    }

    /// # Errors
    /// The first setting out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        at_least("server.body_limit_bytes", self.body_limit_bytes, 1)?;
        for (key, seconds) in [
            (
                "server.request_timeout_seconds",
                self.request_timeout_seconds,
            ),
            ("server.body_timeout_seconds", self.body_timeout_seconds),
            ("server.header_timeout_seconds", self.header_timeout_seconds),
        ] {
            within(key, seconds, 1..=MAX_TIMEOUT_SECONDS)?;
        }
        for (key, seconds) in [
            ("server.drain_seconds", self.drain_seconds),
            ("server.shutdown_grace_seconds", self.shutdown_grace_seconds),
        ] {
            within(key, seconds, 0..=MAX_TIMEOUT_SECONDS)?;
        }
        at_least("server.max_connections", self.max_connections, 1)
    }
}

impl Database {
    /// # Errors
    /// The first setting out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        at_least("database.max_connections", self.max_connections, 1)?;
        let timeout = self.acquire_timeout_seconds;
        within(
            "database.acquire_timeout_seconds",
            timeout,
            1..=MAX_TIMEOUT_SECONDS,
        )?;
        let timeout = self.statement_timeout_seconds;
        within(
            "database.statement_timeout_seconds",
            timeout,
            1..=MAX_TIMEOUT_SECONDS,
        )
    }
}

impl Jwt {
    /// # Errors
    /// The first setting out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        at_least("jwt.jwks_refresh_seconds", self.jwks_refresh_seconds, 1)?;
        within(
            "jwt.leeway_seconds",
            self.leeway_seconds,
            0..=MAX_LEEWAY_SECONDS,
        )
    }
}

impl Telemetry {
    /// # Errors
    /// The first setting out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        within(
            "telemetry.trace_sample_ratio",
            self.trace_sample_ratio,
            0.0..=1.0,
        )
    }
}

/// Reads `""` as a setting that is not set.
pub fn empty_as_none<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    match Value::deserialize(from)? {
        Value::String(text) if text.is_empty() => Ok(None),
        value => T::deserialize(value)
            .map(Some)
            .map_err(serde::de::Error::custom),
    }
}

/// Merges all layers. Later defaults override earlier ones key by key.
///
/// # Errors
/// [`ConfigError`] naming the key and the layer that set it.
pub fn load<T: DeserializeOwned>(
    defaults: &[&str],
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let mut settings = Table::new();
    let mut origins = BTreeMap::new();
    for text in defaults {
        let layer = parse(text, "embedded defaults")?;
        merge(&mut settings, layer, "", "default", &mut origins, true)?;
    }
    if let Some(path) = file {
        let text = read(path, "")?;
        let origin = path.display().to_string();
        merge(
            &mut settings,
            parse(&text, &origin)?,
            "",
            &origin,
            &mut origins,
            false,
        )?;
    }
    apply_environment(&mut settings, environment, &mut origins)?;
    serde_path_to_error::deserialize(settings).map_err(|error| {
        let key = error.path().to_string();
        let origin = origins
            .get(&key)
            .cloned()
            .unwrap_or_else(|| "default".into());
        let message = error.into_inner().to_string();
        ConfigError::Invalid {
            key,
            origin,
            message: message.trim_end().to_owned(),
        }
    })
}

/// The environment variable of a key.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// A setting in the reference.
#[derive(Clone, Debug)]
pub struct Setting {
    pub key: String,
    pub default: String,
    pub doc: String,
}

/// Every setting in the order of the defaults, with its comment.
pub fn settings(defaults: &[&str]) -> Vec<Setting> {
    let mut found: Vec<Setting> = Vec::new();
    for text in defaults {
        let mut section = String::new();
        let mut doc = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix('#') {
                let _ = write!(doc, "{} ", comment.trim());
            } else if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                section = format!("{name}.");
                doc.clear();
            } else if let Some((key, value)) = line.split_once('=') {
                let key = format!("{section}{}", key.trim());
                let default = value.trim().to_owned();
                let doc = std::mem::take(&mut doc).trim().to_owned();
                match found.iter_mut().find(|known| known.key == key) {
                    Some(known) if doc.is_empty() => known.default = default,
                    Some(known) => *known = Setting { key, default, doc },
                    None => found.push(Setting { key, default, doc }),
                }
            } else {
                doc.clear();
            }
        }
    }
    found
}

/// The reference as text, for `--help`.
pub fn render_help(defaults: &[&str]) -> String {
    let mut text = String::from(
        "Settings: key in the TOML file, environment variable, default. A variable with the suffix\n\
         _FILE names a file that contains the value.\n",
    );
    for Setting { key, default, doc } in settings(defaults) {
        let _ = write!(
            text,
            "\n  {key}  ${}  [{default}]\n      {doc}\n",
            variable(&key)
        );
    }
    text
}

/// The reference as a Markdown table, for `docs/config.md`.
pub fn render_markdown(defaults: &[&str]) -> String {
    let mut text = String::from("| key | variable | default | meaning |\n|---|---|---|---|\n");
    for Setting { key, default, doc } in settings(defaults) {
        let doc = doc.replace('|', "\\|");
        let _ = writeln!(
            text,
            "| `{key}` | `{}` | `{default}` | {doc} |",
            variable(&key)
        );
    }
    text
}

fn read(path: &Path, origin: &str) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        origin: origin.to_owned(),
        path: path.to_owned(),
        source,
    })
}

fn parse(text: &str, origin: &str) -> Result<Table, ConfigError> {
    text.parse()
        .map_err(|error: toml::de::Error| ConfigError::Syntax {
            origin: origin.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })
}

fn merge(
    into: &mut Table,
    from: Table,
    prefix: &str,
    origin: &str,
    origins: &mut BTreeMap<String, String>,
    may_add: bool,
) -> Result<(), ConfigError> {
    for (name, value) in from {
        let key = format!("{prefix}{name}");
        match (into.get_mut(&name), value) {
            (Some(Value::Table(known)), Value::Table(value)) => {
                merge(known, value, &format!("{key}."), origin, origins, may_add)?;
            }
            (None, _) if !may_add => {
                return Err(ConfigError::Unknown {
                    origin: origin.to_owned(),
                    key,
                });
            }
            (_, value) => {
                origins.insert(key, origin.to_owned());
                into.insert(name, value);
            }
        }
    }
    Ok(())
}

fn apply_environment(
    settings: &mut Table,
    environment: impl IntoIterator<Item = (String, String)>,
    origins: &mut BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    let keys: BTreeMap<String, String> = leaves(settings, "")
        .into_iter()
        .map(|key| (variable(&key), key))
        .collect();
    let environment: BTreeMap<String, String> = environment.into_iter().collect();
    for (alias, key) in ALIASES {
        if let (Some(value), true) = (environment.get(alias), keys.values().any(|k| k == key)) {
            set(settings, key, value, alias, origins)?;
        }
    }
    for (name, value) in &environment {
        if !name.starts_with(PREFIX) || NOT_SETTINGS.contains(&name.as_str()) {
            continue;
        }
        let from_file = name.strip_suffix("_FILE").and_then(|name| keys.get(name));
        match (keys.get(name), from_file) {
            // The file takes precedence, in whatever order the two are read.
            (Some(_), _) if environment.contains_key(&format!("{name}_FILE")) => {}
            (Some(key), _) => set(settings, key, value, name, origins)?,
            (None, Some(key)) => {
                let text = read(Path::new(value), &format!("{name}: "))?;
                set(
                    settings,
                    key,
                    text.trim_end_matches(['\n', '\r']),
                    name,
                    origins,
                )?;
            }
            (None, None) => {
                let origin = "environment".to_owned();
                return Err(ConfigError::Unknown {
                    origin,
                    key: name.clone(),
                });
            }
        }
    }
    Ok(())
}

fn leaves(table: &Table, prefix: &str) -> Vec<String> {
    table
        .iter()
        .flat_map(|(name, value)| match value {
            Value::Table(inner) => leaves(inner, &format!("{prefix}{name}.")),
            _ => vec![format!("{prefix}{name}")],
        })
        .collect()
}

fn set(
    settings: &mut Table,
    key: &str,
    text: &str,
    origin: &str,
    origins: &mut BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    let mut table = settings;
    let mut names = key.split('.').peekable();
    while let Some(name) = names.next() {
        if names.peek().is_some() {
            table = table
                .get_mut(name)
                .and_then(Value::as_table_mut)
                .expect("keys come from the table itself");
        } else {
            let value = typed(&table[name], text).map_err(|message| ConfigError::Invalid {
                key: key.to_owned(),
                origin: origin.to_owned(),
                message,
            })?;
            table.insert(name.to_owned(), value);
        }
    }
    origins.insert(key.to_owned(), origin.to_owned());
    Ok(())
}

/// Parses the text of a variable as the type of the default.
fn typed(default: &Value, text: &str) -> Result<Value, String> {
    let wrong = |wanted: &str| format!("must be {wanted}");
    match default {
        Value::Integer(_) => text
            .trim()
            .parse()
            .map(Value::Integer)
            .map_err(|_| wrong("an integer")),
        Value::Float(_) => text
            .trim()
            .parse()
            .map(Value::Float)
            .map_err(|_| wrong("a number")),
        Value::Boolean(_) => text
            .trim()
            .parse()
            .map(Value::Boolean)
            .map_err(|_| wrong("true or false")),
        Value::Array(_) => Ok(Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::String(item.to_owned()))
                .collect(),
        )),
        _ => Ok(Value::String(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: &str =
        "# How many.\nlimit = 1\nnames = [\"a\"]\n[part]\n# A secret.\nkey = \"\"\n";

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        limit: u8,
        names: Vec<String>,
        part: Part,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Part {
        #[serde(deserialize_with = "empty_as_none")]
        key: Option<String>,
    }

    fn sample(env: &[(&str, &str)]) -> Result<Sample, ConfigError> {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        load(&[DEFAULTS], None, env)
    }

    #[test]
    fn later_layers_override_earlier_ones() {
        let plain = sample(&[]).unwrap();
        assert_eq!((plain.limit, plain.part.key), (1, None));
        let secret = std::env::temp_dir().join(format!("quartet-config-{}", std::process::id()));
        std::fs::write(&secret, "from file\n").unwrap();
        let set = sample(&[
            ("QUARTET_LIMIT", "7"),
            ("QUARTET_NAMES", "x, y"),
            ("QUARTET_PART_KEY", "from variable"),
            ("QUARTET_PART_KEY_FILE", secret.to_str().unwrap()),
            ("UNRELATED", "1"),
        ])
        .unwrap();
        std::fs::remove_file(secret).unwrap();
        assert_eq!(set.limit, 7);
        assert_eq!(set.names, ["x", "y"]);
        assert_eq!(set.part.key.as_deref(), Some("from file"));
    }

    #[test]
    fn invalid_settings_are_named_without_their_values() {
        let cases = [
            (
                "QUARTET_LIMIT",
                "s3cret",
                "setting `limit` (QUARTET_LIMIT): must be an integer",
            ),
            (
                "QUARTET_LIMT",
                "s3cret",
                "environment: there is no setting `QUARTET_LIMT`",
            ),
            (
                "QUARTET_LIMIT",
                "999",
                "setting `limit` (QUARTET_LIMIT): invalid value",
            ),
        ];
        for (name, value, expected) in cases {
            let message = sample(&[(name, value)]).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
            assert!(!message.contains("s3cret"), "{message}");
        }
    }

    #[test]
    fn a_secret_that_cannot_be_read_names_its_variable() {
        let error = sample(&[("QUARTET_PART_KEY_FILE", "/run/none")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "QUARTET_PART_KEY_FILE: /run/none cannot be read"
        );
    }

    #[test]
    fn the_reference_has_every_setting_with_its_comment() {
        let help = render_help(&[DEFAULTS]);
        assert!(
            help.contains("part.key  $QUARTET_PART_KEY  [\"\"]\n      A secret."),
            "{help}"
        );
        let undocumented: Vec<String> = settings(&[COMMON_DEFAULTS])
            .into_iter()
            .filter(|setting| setting.doc.is_empty())
            .map(|setting| setting.key)
            .collect();
        assert!(undocumented.is_empty(), "{undocumented:?}");
    }
}
