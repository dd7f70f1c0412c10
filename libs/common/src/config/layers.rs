//! Merges the layers, and remembers where each value comes from.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    num::{IntErrorKind, ParseIntError},
    path::Path,
};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{
    changes::{Settings, leaves},
    error::ConfigError,
    key::{PREFIX, variable},
    kubernetes::{is_port_link, is_service_link},
    source::{locate, position},
};

/// Names that other tools use for the same setting.
const ALIASES: [(&str, &str); 4] = [
    ("DATABASE_URL", "database.url"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "telemetry.otlp_protocol"),
    ("RUST_LOG", "telemetry.log"),
];
/// Variables with the prefix that are not settings: of this loader, of the client, of `xtask live`
/// and of tests.
const NOT_SETTINGS: [&str; 4] = [
    "QUARTET_CONFIG",
    "QUARTET_URL",
    "QUARTET_ADMIN_URL",
    "QUARTET_TEST_DATABASE_URL",
];
/// The origin of a value that nothing has set.
const DEFAULT: &str = "default";
/// Bound of a configuration file and of a file with one value.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Reads the file that a variable names.
pub type ReadFile<'r> = &'r dyn Fn(&Path, &str) -> Result<String, ConfigError>;

/// Environment variables by name.
pub type Environment = BTreeMap<String, String>;

/// Which keys exist.
#[derive(Clone, Copy, Debug)]
pub struct Schema<'s> {
    /// Commented TOML; later texts override earlier ones.
    pub defaults: &'s [&'s str],
    /// Top-level tables to which a file may add entries.
    pub open_tables: &'s [&'s str],
    /// A boolean key; if it is false, the open tables start empty.
    pub shipped: Option<&'s str>,
}

/// All layers in one table.
#[derive(Debug)]
pub struct Layers<'f> {
    settings: Table,
    /// Path and text of the file.
    file: Option<(&'f Path, &'f str)>,
    /// The variable that set a key.
    variables: BTreeMap<String, String>,
    /// Variables of Kubernetes, which are no settings.
    passed_over: Vec<String>,
}

impl<'s> Schema<'s> {
    /// Exactly the keys of the defaults.
    pub fn closed(defaults: &'s [&'s str]) -> Self {
        Self {
            defaults,
            open_tables: &[],
            shipped: None,
        }
    }
}

impl<'f> Layers<'f> {
    /// # Errors
    /// The first key that does not exist or text that cannot be parsed.
    pub fn merge(
        schema: Schema<'_>,
        file: Option<(&'f Path, &'f str)>,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let from_disk = |path: &Path, variable: &str| read(path, Some(variable));
        Self::merge_with(schema, file, environment, &from_disk)
    }

    /// As [`merge`](Self::merge). `read` returns the text of the file that a `*_FILE` variable
    /// names; it receives the path and the variable.
    ///
    /// # Errors
    /// As [`merge`](Self::merge), and those of `read`.
    pub fn merge_with(
        schema: Schema<'_>,
        file: Option<(&'f Path, &'f str)>,
        environment: &Environment,
        read: ReadFile<'_>,
    ) -> Result<Self, ConfigError> {
        let mut settings = Table::new();
        for text in schema.defaults {
            merge(
                &mut settings,
                parse(text, "embedded defaults")?,
                "",
                &|_| true,
            )
            .expect("every key may be added");
        }
        let mut layers = Self {
            settings,
            file,
            variables: BTreeMap::new(),
            passed_over: Vec::new(),
        };
        let own = match file {
            Some((path, text)) => parse(text, &path.display().to_string())?,
            None => Table::new(),
        };
        if let Some(key) = schema.shipped
            && !is_shipped(key, &own, environment)
        {
            for table in schema.open_tables {
                layers.settings.remove(*table);
            }
        }
        let is_open = |key: &str| {
            let table = key.split('.').next().unwrap_or_default();
            schema.open_tables.contains(&table)
        };
        if let Err(key) = merge(&mut layers.settings, own, "", &is_open) {
            let origin = layers.origin(&key);
            return Err(ConfigError::Unknown { origin, key });
        }
        layers.apply(environment, read)?;
        Ok(layers)
    }

    /// Every setting with its value.
    pub fn settings(&self) -> Settings {
        Settings::new(self.settings.clone(), self.passed_over.clone())
    }

    /// # Errors
    /// The first value that does not fit its type.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        serde_path_to_error::deserialize(self.settings.clone()).map_err(|error| {
            let key = error.path().to_string();
            self.invalid(&key, in_words(error.into_inner().message()))
        })
    }

    /// An error with the origin of the key's value.
    pub fn invalid(&self, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError::Invalid {
            origin: self.origin(key),
            key: key.to_owned(),
            message: message.into(),
        }
    }

    /// Whether the value comes from a variable or the file.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.origin(key) != DEFAULT
    }

    /// A variable, a position in the file, or the defaults.
    fn origin(&self, key: &str) -> String {
        let variable = self.variables.iter().find(|(set, _)| {
            key.strip_prefix(set.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
        });
        if let Some((_, variable)) = variable {
            return variable.clone();
        }
        let located = self
            .file
            .and_then(|(path, text)| Some((path, locate(text, key)?)));
        located.map_or_else(
            || DEFAULT.to_owned(),
            |(path, (line, column))| format!("{}:{line}:{column}", path.display()),
        )
    }

    fn apply(&mut self, environment: &Environment, read: ReadFile<'_>) -> Result<(), ConfigError> {
        let keys: BTreeMap<String, String> = leaves(&self.settings, "")
            .into_iter()
            .map(|key| (variable(&key), key))
            .collect();
        for (alias, key) in ALIASES {
            if let (Some(value), true) = (environment.get(alias), keys.contains_key(&variable(key)))
            {
                self.set(key, value, alias)?;
            }
        }
        let names_file = |name: &str| environment.get(name).is_some_and(|file| !file.is_empty());
        for (name, value) in environment {
            if !name.starts_with(PREFIX) || NOT_SETTINGS.contains(&name.as_str()) {
                continue;
            }
            let from_file = name.strip_suffix("_FILE").and_then(|name| keys.get(name));
            let is_link = if keys.contains_key(name) {
                is_port_link(name, value)
            } else {
                is_service_link(name, value)
            };
            if is_link {
                self.passed_over.push(name.clone());
                continue;
            }
            match (keys.get(name), from_file) {
                // The file wins, whichever of the two comes first.
                (Some(_), _) if names_file(&format!("{name}_FILE")) => {}
                (Some(key), _) => self.set(key, value, name)?,
                // Set to nothing, as by `${NAME:-}` in a Compose file.
                (None, Some(_)) if value.is_empty() => {}
                (None, Some(key)) => {
                    let text = read(Path::new(value), name)?;
                    self.set(key, text.trim_end_matches(['\n', '\r']), name)?;
                }
                (None, None) => {
                    return Err(ConfigError::Unknown {
                        origin: "environment".to_owned(),
                        key: name.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, text: &str, variable: &str) -> Result<(), ConfigError> {
        let (parents, name) = key.rsplit_once('.').unwrap_or(("", key));
        let mut parents = parents.split('.').filter(|parent| !parent.is_empty());
        let table = parents
            .try_fold(&mut self.settings, |table, parent| {
                table.get_mut(parent)?.as_table_mut()
            })
            .expect("keys come from the table itself");
        let value = typed(&table[name], text).map_err(|message| ConfigError::Invalid {
            key: key.to_owned(),
            origin: variable.to_owned(),
            message: message.to_owned(),
        })?;
        table.insert(name.to_owned(), value);
        self.variables.insert(key.to_owned(), variable.to_owned());
        Ok(())
    }
}

/// The text of a file; `variable` is the one that names it, if any.
///
/// # Errors
/// [`ConfigError::Read`], also for what is no file or too large: a pipe may never end, and a device
/// fills the memory.
pub fn read(path: &Path, variable: Option<&str>) -> Result<String, ConfigError> {
    let bounded = || {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut text = String::new();
        let file = File::open(path)?;
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            let rule = format!("it is larger than {MAX_FILE_BYTES} bytes");
            return Err(io::Error::other(rule));
        }
        Ok(text)
    };
    bounded().map_err(|source| ConfigError::Read {
        origin: variable.map_or_else(String::new, |variable| format!("{variable}: ")),
        path: path.to_owned(),
        source,
    })
}

fn parse(text: &str, origin: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| {
        let position = error.span().map(|span| position(text, span.start));
        ConfigError::Syntax {
            origin: position.map_or_else(
                || origin.to_owned(),
                |(line, column)| format!("{origin}:{line}:{column}"),
            ),
            message: error.message().to_owned(),
        }
    })
}

fn is_shipped(key: &str, own: &Table, environment: &Environment) -> bool {
    let set = match environment.get(&variable(key)) {
        Some(text) => text.trim().parse().ok(),
        None => own.get(key).and_then(Value::as_bool),
    };
    set != Some(false)
}

/// Whether a file has any key but comments and empty tables. What cannot be parsed is not empty: it
/// has an error of its own.
pub(super) fn has_settings(file: &str) -> bool {
    fn has_value(value: &Value) -> bool {
        let Some(table) = value.as_table() else {
            return true;
        };
        table.values().any(has_value)
    }
    let table: Result<Table, _> = file.parse();
    table.map_or(true, |table| table.values().any(has_value))
}

/// # Errors
/// The first key that does not exist and may not be added.
fn merge(
    into: &mut Table,
    from: Table,
    prefix: &str,
    may_add: &dyn Fn(&str) -> bool,
) -> Result<(), String> {
    for (name, value) in from {
        let key = format!("{prefix}{name}");
        match (into.get_mut(&name), value) {
            (Some(Value::Table(known)), Value::Table(value)) => {
                merge(known, value, &format!("{key}."), may_add)?;
            }
            (None, _) if !may_add(&key) => return Err(key),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
    Ok(())
}

/// Serde names the types of Rust, which operators do not know.
fn in_words(message: &str) -> String {
    let unsigned = ["u8", "u16", "u32", "u64", "usize"];
    match message.rsplit_once("expected ") {
        Some((head, kind)) if unsigned.contains(&kind) => {
            let max = match kind {
                "u8" => u8::MAX.into(),
                "u16" => u16::MAX.into(),
                "u32" => u32::MAX.into(),
                _ => i64::MAX as u64,
            };
            format!("{head}expected an integer from 0 to {max}")
        }
        _ => message.to_owned(),
    }
}

/// A variable's text as the type of the current value. Never echoes the text: it may be a secret.
fn typed(current: &Value, text: &str) -> Result<Value, &'static str> {
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return Err("must be UTF-8");
    }
    let trimmed = text.trim();
    match current {
        Value::Integer(_) => {
            let number = trimmed
                .parse()
                .map_err(|error: ParseIntError| match error.kind() {
                    IntErrorKind::PosOverflow => "is too large",
                    _ => "must be an integer",
                })?;
            Ok(Value::Integer(number))
        }
        Value::Float(_) => {
            let number = trimmed.parse().map_err(|_| "must be a number")?;
            Ok(Value::Float(number))
        }
        Value::Boolean(_) => {
            let flag = trimmed.parse().map_err(|_| "must be true or false")?;
            Ok(Value::Boolean(flag))
        }
        Value::Array(_) => {
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            let items = items.map(|item| Value::String(item.to_owned()));
            Ok(Value::Array(items.collect()))
        }
        _ => Ok(Value::String(text.to_owned())),
    }
}
