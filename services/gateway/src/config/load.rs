//! Reads the settings in layers: embedded defaults < file < environment < `*_FILE`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use quartet_common::config::variable;
use toml::{Table, Value};

use super::{
    Config, DEFAULTS,
    model::Model,
    source::{Diagnostic, locate, position},
    validate::validate,
};

const PREFIX: &str = "QUARTET_";
/// Names that other tools use for the same thing.
const ALIASES: [(&str, &str); 2] = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
    ("RUST_LOG", "telemetry.log"),
];
/// Variables with our prefix that are not settings of a service.
const NOT_SETTINGS: [&str; 2] = ["QUARTET_CONFIG", "QUARTET_TEST_DATABASE_URL"];
/// What a file may add entries to.
const OPEN_TABLES: [&str; 3] = ["upstreams", "limits", "routes"];

/// Whether the tables above start with what is shipped.
const SHIPPED: &str = "shipped_routes";

/// Every mistake that was found.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Mistakes(pub Vec<Diagnostic>);

/// Where the settings come from. Kept, so that they can be read again.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub file: Option<PathBuf>,
    pub environment: Vec<(String, String)>,
}

/// The layers while they are merged, and which of them said what.
struct Layers<'a> {
    settings: Table,
    /// Path and text of the file.
    file: Option<(String, &'a str)>,
    /// Which variable set a key.
    variables: BTreeMap<String, String>,
}

impl Sources {
    /// The process's own environment, and a file.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        Self {
            file,
            environment: std::env::vars().collect(),
        }
    }

    /// The file's text; empty without a file.
    pub fn read(&self) -> Result<String, Mistakes> {
        self.file.as_deref().map_or_else(|| Ok(String::new()), read)
    }

    /// # Errors
    /// Every mistake in the first layer of checks (syntax, types, rules) that finds one.
    pub fn load(&self) -> Result<Config, Mistakes> {
        self.load_text(&self.read()?)
    }

    /// The same with the file's text already at hand.
    pub fn load_text(&self, text: &str) -> Result<Config, Mistakes> {
        let path = self.file.as_ref().map(|path| path.display().to_string());
        let file = path.map(|path| (path, text));
        let mut layers = Layers::merge(file, &self.environment)?;
        layers.apply(&self.environment)?;
        let model: Model =
            serde_path_to_error::deserialize(layers.settings.clone()).map_err(|error| {
                let key = error.path().to_string();
                let message = error.into_inner().message().to_owned();
                Mistakes(vec![layers.diagnose(&key, message)])
            })?;
        validate(model).map_err(|found| {
            Mistakes(
                found
                    .into_iter()
                    .map(|(key, text)| layers.diagnose(&key, text))
                    .collect(),
            )
        })
    }
}

impl<'a> Layers<'a> {
    fn merge(
        file: Option<(String, &'a str)>,
        environment: &[(String, String)],
    ) -> Result<Self, Mistakes> {
        let mut settings: Table = DEFAULTS
            .parse()
            .expect("the embedded defaults are valid TOML; a test reads them");
        let mut own = Table::new();
        if let Some((path, text)) = &file {
            own = text.parse().map_err(|error: toml::de::Error| {
                Mistakes(vec![Diagnostic {
                    origin: path.clone(),
                    position: error.span().map(|span| position(text, span.start)),
                    key: String::new(),
                    message: error.message().to_owned(),
                }])
            })?;
        }
        let variable = variable(SHIPPED);
        let shipped = environment
            .iter()
            .find(|(name, _)| *name == variable)
            .map_or_else(
                || own.get(SHIPPED).and_then(Value::as_bool),
                |(_, v)| v.trim().parse().ok(),
            );
        if shipped == Some(false) {
            for name in OPEN_TABLES {
                settings.remove(name);
            }
        }
        merge(&mut settings, own);
        Ok(Self {
            settings,
            file,
            variables: BTreeMap::new(),
        })
    }

    fn apply(&mut self, environment: &[(String, String)]) -> Result<(), Mistakes> {
        let keys: BTreeMap<String, String> = leaves(&self.settings, "")
            .into_iter()
            .map(|key| (variable(&key), key))
            .collect();
        for (alias, key) in ALIASES {
            if let Some((_, value)) = environment.iter().find(|(name, _)| name == alias) {
                self.set(key, value, alias)?;
            }
        }
        for (name, value) in environment {
            if !name.starts_with(PREFIX) || NOT_SETTINGS.contains(&name.as_str()) {
                continue;
            }
            let by_file = format!("{name}_FILE");
            let named_file = name.strip_suffix("_FILE").and_then(|name| keys.get(name));
            match (keys.get(name), named_file) {
                // The file wins, whichever of the two comes first.
                (Some(_), _) if environment.iter().any(|(other, _)| *other == by_file) => {}
                (Some(key), _) => self.set(key, value, name)?,
                (None, Some(key)) => {
                    let text = read(Path::new(value))?;
                    self.set(key, text.trim_end_matches(['\n', '\r']), name)?;
                }
                (None, None) => {
                    let message = "there is no such setting".to_owned();
                    return Err(Mistakes(vec![of_variable(name, "", message)]));
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, text: &str, variable: &str) -> Result<(), Mistakes> {
        let mut table = &mut self.settings;
        let mut names = key.split('.').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_some() {
                table = table
                    .get_mut(name)
                    .and_then(Value::as_table_mut)
                    .expect("keys come from the table itself");
            } else {
                let value = typed(&table[name], text)
                    .map_err(|message| Mistakes(vec![of_variable(variable, key, message)]))?;
                table.insert(name.to_owned(), value);
            }
        }
        self.variables.insert(key.to_owned(), variable.to_owned());
        Ok(())
    }

    /// Names the layer, and in a file the place, that the key's value comes from.
    fn diagnose(&self, key: &str, message: String) -> Diagnostic {
        let set = self.variables.iter().find(|(set, _)| {
            key.strip_prefix(set.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
        });
        if let Some((_, variable)) = set {
            return of_variable(variable, key, message);
        }
        let key = key.to_owned();
        let placed = self.file.as_ref().and_then(|(path, text)| {
            locate(text, &key).map(|(line, column, _)| (path.clone(), (line, column)))
        });
        let (origin, position) = match placed {
            Some((origin, place)) => (origin, Some(place)),
            None => ("embedded defaults".to_owned(), None),
        };
        Diagnostic {
            origin,
            position,
            key,
            message,
        }
    }
}

fn of_variable(variable: &str, key: &str, message: String) -> Diagnostic {
    let (origin, key) = (format!("variable {variable}"), key.to_owned());
    Diagnostic {
        origin,
        position: None,
        key,
        message,
    }
}

fn read(path: &Path) -> Result<String, Mistakes> {
    std::fs::read_to_string(path).map_err(|error| {
        Mistakes(vec![Diagnostic {
            origin: path.display().to_string(),
            position: None,
            key: String::new(),
            message: error.to_string(),
        }])
    })
}

fn merge(into: &mut Table, from: Table) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Table(known)), Value::Table(value)) => merge(known, value),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
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

/// A variable's text as the type that the key has. Never echoes the text: it may be a secret.
fn typed(known: &Value, text: &str) -> Result<Value, String> {
    let trimmed = text.trim();
    match known {
        Value::Integer(_) => trimmed
            .parse()
            .map(Value::Integer)
            .map_err(|_| "must be a whole number".into()),
        Value::Float(_) => trimmed
            .parse()
            .map(Value::Float)
            .map_err(|_| "must be a number".into()),
        Value::Boolean(_) => trimmed
            .parse()
            .map(Value::Boolean)
            .map_err(|_| "must be true or false".into()),
        Value::Array(_) => {
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            Ok(Value::Array(
                items.map(|item| Value::String(item.to_owned())).collect(),
            ))
        }
        _ => Ok(Value::String(text.to_owned())),
    }
}
