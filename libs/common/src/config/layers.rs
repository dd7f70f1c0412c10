//! Merges the layers, and remembers where each value comes from.
//!
//! A key that does not exist and a variable whose text is not a value of its key are noted and left
//! aside, so that they are reported together with what [`Layers::read`] finds.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    num::{IntErrorKind, ParseIntError},
    path::Path,
};

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
    /// Tables to which a file may add entries: top-level ones, or one within a table, as `a.b`.
    pub open_tables: &'s [&'s str],
    /// A boolean key; if it is false, the open tables start empty.
    pub shipped: Option<&'s str>,
}

/// All layers in one table.
#[derive(Debug)]
pub struct Layers<'f> {
    pub(super) settings: Table,
    /// Path and text of the file.
    file: Option<(&'f Path, &'f str)>,
    /// The variable that set a key.
    variables: BTreeMap<String, String>,
    /// Variables of Kubernetes, which are not settings.
    passed_over: Vec<String>,
    /// What stands in for a value that does not fit its type.
    pub(super) defaults: Table,
    /// Keys and messages of what could not be merged.
    pub(super) unmerged: Vec<Unmerged>,
}

/// A key that does not exist, or a variable whose text is not a value of its key.
#[derive(Debug)]
pub(super) enum Unmerged {
    Unknown { origin: String, key: String },
    Invalid { key: String, message: String },
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
    /// A text that cannot be parsed, or a file that cannot be read.
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
            let text = parse(text, "embedded defaults")?;
            merge(&mut settings, text, "", &|_| true, &mut Vec::new());
        }
        let mut layers = Self {
            defaults: settings.clone(),
            settings,
            file,
            variables: BTreeMap::new(),
            passed_over: Vec::new(),
            unmerged: Vec::new(),
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
            let mut open = schema.open_tables.iter();
            open.any(|table| {
                let rest = key.strip_prefix(table);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        let mut unknown = Vec::new();
        merge(&mut layers.settings, own, "", &is_open, &mut unknown);
        let mut unknown: Vec<_> = unknown
            .into_iter()
            .map(|key| (layers.place(&key), key))
            .collect();
        unknown.sort();
        for (place, key) in unknown {
            let origin = layers.named(place);
            layers.unmerged.push(Unmerged::Unknown { origin, key });
        }
        layers.apply(environment, read)?;
        Ok(layers)
    }

    /// Every setting with its value.
    pub fn settings(&self) -> Settings {
        Settings::new(self.settings.clone(), self.passed_over.clone())
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
        self.named(self.place(key))
    }

    /// Line and column in the file.
    fn place(&self, key: &str) -> Option<(usize, usize)> {
        self.file.and_then(|(_, text)| locate(text, key))
    }

    fn named(&self, place: Option<(usize, usize)>) -> String {
        match (self.file, place) {
            (Some((path, _)), Some((line, column))) => {
                format!("{}:{line}:{column}", path.display())
            }
            _ => DEFAULT.to_owned(),
        }
    }

    fn apply(&mut self, environment: &Environment, read: ReadFile<'_>) -> Result<(), ConfigError> {
        let keys: BTreeMap<String, String> = leaves(&self.settings, "")
            .into_iter()
            .filter(|key| value_at(&mut self.settings, key).is_some())
            .map(|key| (variable(&key), key))
            .collect();
        for (alias, key) in ALIASES {
            if let (Some(value), true) = (environment.get(alias), keys.contains_key(&variable(key)))
            {
                self.set(key, value, alias);
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
                (Some(key), _) => self.set(key, value, name),
                // Set to nothing, as by `${NAME:-}` in a Compose file.
                (None, Some(_)) if value.is_empty() => {}
                (None, Some(key)) => {
                    let text = read(Path::new(value), name)?;
                    self.set(key, text.trim_end_matches(['\n', '\r']), name);
                }
                (None, None) => self.unmerged.push(Unmerged::Unknown {
                    origin: "environment".to_owned(),
                    key: name.clone(),
                }),
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, text: &str, variable: &str) {
        let Some(current) = value_at(&mut self.settings, key) else {
            return;
        };
        match typed(current, text) {
            Ok(value) => *current = value,
            Err(message) => self.unmerged.push(Unmerged::Invalid {
                key: key.to_owned(),
                message: message.to_owned(),
            }),
        }
        self.variables.insert(key.to_owned(), variable.to_owned());
    }
}

impl Unmerged {
    /// The key whose value is not known.
    pub(super) fn key(&self) -> Option<String> {
        match self {
            Self::Unknown { .. } => None,
            Self::Invalid { key, .. } => Some(key.clone()),
        }
    }
}

/// The text of a file; `variable` is the one that names it, if any.
///
/// # Errors
/// [`ConfigError::Read`], also for what is not a file or is too large: a pipe may never end, and a device
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

/// The value of a key. `None` if a name in it has a dot, as in `[routes."a.b"]`: no variable sets that.
fn value_at<'t>(table: &'t mut Table, key: &str) -> Option<&'t mut Value> {
    match key.split_once('.') {
        None => table.get_mut(key),
        Some((name, rest)) => value_at(table.get_mut(name)?.as_table_mut()?, rest),
    }
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

/// Notes the keys that do not exist and may not be added.
fn merge(
    into: &mut Table,
    from: Table,
    prefix: &str,
    may_add: &dyn Fn(&str) -> bool,
    unknown: &mut Vec<String>,
) {
    for (name, value) in from {
        let key = format!("{prefix}{name}");
        match (into.get_mut(&name), value) {
            (Some(Value::Table(known)), Value::Table(value)) => {
                merge(known, value, &format!("{key}."), may_add, unknown);
            }
            (None, _) if !may_add(&key) => unknown.push(key),
            (_, value) => {
                into.insert(name, value);
            }
        }
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
