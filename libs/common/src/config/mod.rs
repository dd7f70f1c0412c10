//! Configuration in layers: embedded defaults < TOML file < environment < `*_FILE`.
//!
//! The defaults are commented TOML, and that text is also the reference: `--help` and
//! `docs/config.md` are generated from it, and keys that it does not contain are refused. Key
//! `a.b_c` is also the variable `QUARTET_A_B_C`; `QUARTET_A_B_C_FILE` names a file that contains the
//! value. Variables that Kubernetes sets in every pod for its services are not settings ([`kubernetes`]).

mod bounds;
mod changes;
mod error;
mod key;
mod kubernetes;
mod layers;
mod reading;
mod reference;
mod sections;
mod shown;
mod source;
mod sources;
mod watch;

use std::path::Path;

use serde::de::DeserializeOwned;

pub use bounds::{at_least, http, within};
pub use changes::Settings;
pub use error::{ConfigError, all};
pub use key::environment;
pub use layers::{Environment, Layers, ReadFile, Schema, read};
pub use reference::{Setting, render_help, render_markdown, settings};
pub use sections::{
    Database, Jwt, OtlpProtocol, Server, Telemetry, Worker, empty_as_none, networks,
};
pub use shown::{HIDDEN, ShownSettings};
pub use sources::{ConfigTexts, Sources};
pub use watch::Watch;

/// The defaults of the common sections, for services that have a database.
pub const COMMON_DEFAULTS: &str = include_str!("../default.toml");

/// Reads all layers. Later defaults override earlier ones key by key.
///
/// # Errors
/// [`ConfigError`] naming the key, and where its value comes from.
pub fn load<T: DeserializeOwned>(
    defaults: &[&str],
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    load_checked(defaults, file, environment, |_| Ok(())).map(|loaded| loaded.config)
}

/// A configuration, and the values that it consists of.
#[derive(Clone, Debug)]
pub struct LoadedConfig<T> {
    pub config: T,
    pub settings: Settings,
}

/// As [`load`]. An error of `check` names where the value comes from, too.
///
/// # Errors
/// As [`load`], and the error of `check`.
pub fn load_checked<T: DeserializeOwned>(
    defaults: &[&str],
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    check: impl FnOnce(&T) -> Result<(), ConfigError>,
) -> Result<LoadedConfig<T>, ConfigError> {
    let sources = Sources::new(file.map(Into::into), environment.into_iter().collect());
    let texts = sources.read()?;
    load_texts(defaults, &sources, &texts, check)
}

/// As [`load_checked`], with the texts of the files at hand.
///
/// # Errors
/// As [`load_checked`].
pub fn load_texts<T: DeserializeOwned>(
    defaults: &[&str],
    sources: &Sources,
    texts: &ConfigTexts,
    check: impl FnOnce(&T) -> Result<(), ConfigError>,
) -> Result<LoadedConfig<T>, ConfigError> {
    let layers = sources.layers(Schema::closed(defaults), texts)?;
    layers.read(|config| match check(&config) {
        Ok(()) => Ok(LoadedConfig {
            config,
            settings: layers.settings(),
        }),
        Err(error) => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

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
    fn later_layers_win() {
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

    /// Kubernetes would set `QUARTET_PART_PORT` for a service `quartet-part`.
    #[test]
    fn a_service_of_kubernetes_never_shadows_a_setting() {
        #[derive(Debug, Deserialize)]
        struct Ports {
            part: Part,
        }
        #[derive(Debug, Deserialize)]
        struct Part {
            port: u16,
            service_port: u16,
        }
        let defaults = "[part]\nport = 1\nservice_port = 2\n";
        let load = |variables: &[(&str, &str)]| {
            let own = |text: &str| text.to_owned();
            let environment = variables
                .iter()
                .map(|(name, value)| (own(name), own(value)));
            load_checked::<Ports>(&[defaults], None, environment, |_| Ok(()))
        };
        let link = ("QUARTET_PART_PORT", "tcp://10.0.0.1:80");
        let foreign = ("QUARTET_PART_SERVICE_HOST", "10.0.0.1");
        let loaded = load(&[link, foreign]).unwrap();
        assert_eq!(loaded.config.part.port, 1);
        assert_eq!(
            loaded.settings.passed_over(),
            ["QUARTET_PART_PORT", "QUARTET_PART_SERVICE_HOST"]
        );
        let set = [
            ("QUARTET_PART_PORT", "7"),
            ("QUARTET_PART_SERVICE_PORT", "8"),
        ];
        let part = load(&set).unwrap().config.part;
        assert_eq!((part.port, part.service_port), (7, 8));
        let misspelled = ("QUARTET_PART_PROT", "tcp://10.0.0.1:80");
        assert!(load(&[misspelled]).is_err());
    }

    #[test]
    fn invalid_settings_are_named_and_secrets_are_not_echoed() {
        let cases = [
            (
                "QUARTET_LIMIT",
                "s3cret",
                "setting `limit` (QUARTET_LIMIT): must be an integer",
            ),
            (
                "QUARTET_PART_KEY",
                "s3cret\u{fffd}",
                "setting `part.key` (QUARTET_PART_KEY): must be UTF-8",
            ),
            (
                "QUARTET_LIMT",
                "s3cret",
                "environment: unknown setting `QUARTET_LIMT`; did you mean `QUARTET_LIMIT`?",
            ),
            (
                "QUARTET_LIMIT",
                "999",
                "setting `limit` (QUARTET_LIMIT): must be an integer from 0 to 255",
            ),
            (
                "QUARTET_LIMIT",
                "18446744073709551615",
                "setting `limit` (QUARTET_LIMIT): is too large",
            ),
        ];
        for (name, value, expected) in cases {
            let message = sample(&[(name, value)]).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
            assert!(!message.contains("s3cret"), "{message}");
        }
    }

    #[test]
    fn errors_in_a_file_have_line_and_column() {
        let cases = [
            ("limit = ", "FILE:1:9: "),
            (
                "\nlimit = 999\n",
                "setting `limit` (FILE:2:1): must be an integer from 0 to 255",
            ),
            (
                "[part]\n  kay = 1\n",
                "FILE:2:3: unknown setting `part.kay`; did you mean `part.key`?",
            ),
            (
                "names = [\n \"a\",\n 1]\n",
                "setting `names[1]` (FILE:3:2): must be a string",
            ),
        ];
        for (text, expected) in cases {
            let file = Some((Path::new("FILE"), text));
            let layers = Layers::merge(Schema::closed(&[DEFAULTS]), file, &Environment::new());
            let error = layers.and_then(|layers| layers.read(Ok::<Sample, _>));
            let message = error.unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }

    /// Reads a file and variables, with a rule for two settings.
    fn errors(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
        let file = Some((Path::new("FILE"), text));
        let environment = environment.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        let layers = Layers::merge(Schema::closed(&[DEFAULTS]), file, &environment.collect());
        let outcome = layers.unwrap().read(|sample: Sample| {
            let limit = within("limit", sample.limit, 1..=5);
            let key = sample.part.key.is_none_or(|key| key.len() > 3);
            let rule = "must be longer than limit is wide";
            let key = key
                .then_some(())
                .ok_or_else(|| ConfigError::invalid("part.key", rule));
            all([limit, key])
        });
        let error = outcome.unwrap_err();
        error.each().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_error_is_reported_once() {
        let text = "limt = 1\nlimit = \"s3cret\"\nnames = [1, \"a\"]\n[part]\nkay = 1\n";
        let found = errors(text, &[("QUARTET_PART_KEY", "abc"), ("QUARTET_PRT", "x")]);
        assert_eq!(
            found,
            [
                "FILE:1:1: unknown setting `limt`; did you mean `limit`?",
                "FILE:5:1: unknown setting `part.kay`; did you mean `part.key`?",
                "environment: unknown setting `QUARTET_PRT`",
                "setting `limit` (FILE:2:1): must be an integer from 0 to 255",
                "setting `names[0]` (FILE:3:10): must be a string",
                // That of `part.key` speaks of `limit`, whose value is not known.
            ]
        );
        let found = errors("limit = 9\n", &[("QUARTET_PART_KEY", "abc")]);
        assert_eq!(found.len(), 2, "{found:?}");
        let found = errors(
            "names = 5\n",
            &[("QUARTET_LIMIT", "x"), ("QUARTET_PRT", "x")],
        );
        assert_eq!(
            found,
            [
                "setting `limit` (QUARTET_LIMIT): must be an integer",
                "environment: unknown setting `QUARTET_PRT`",
                "setting `names` (FILE:1:1): must be an array",
            ]
        );
        let found = errors("limit = 9\nnames = 5\n", &[]);
        assert_eq!(
            found[1], "setting `limit` (FILE:1:1): must be between 1 and 5",
            "{found:?}"
        );
    }

    #[test]
    fn the_number_of_errors_is_bounded() {
        let lines: Vec<String> = (0..200).map(|n| format!("x{n} = 1")).collect();
        let found = errors(&lines.join("\n"), &[]);
        assert_eq!(found.len(), 100);
    }

    #[test]
    fn a_broken_rule_names_where_the_value_comes_from() {
        let path = std::env::temp_dir().join(format!("quartet-rule-{}", std::process::id()));
        std::fs::write(&path, "\nlimit = 9\n").unwrap();
        let load = |environment: &[(&str, &str)]| {
            let environment = environment.iter().map(|(k, v)| ((*k).into(), (*v).into()));
            let check = |sample: &Sample| within("limit", sample.limit, 1..=5);
            load_checked(&[DEFAULTS], Some(&path), environment, check)
        };
        let message = load(&[]).unwrap_err().to_string();
        let origin = format!("setting `limit` ({}:2:1): must be", path.display());
        assert!(message.starts_with(&origin), "{message}");
        let message = load(&[("QUARTET_LIMIT", "6")]).unwrap_err().to_string();
        assert!(
            message.starts_with("setting `limit` (QUARTET_LIMIT): must be"),
            "{message}"
        );
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn open_tables_accept_new_entries() {
        let schema = Schema {
            defaults: &["shipped = true\n[things.a]\nsize = 1\n"],
            open_tables: &["things"],
            shipped: Some("shipped"),
        };
        let keys = |text: &str, environment: &[(&str, &str)]| {
            let environment = environment.iter().map(|(k, v)| ((*k).into(), (*v).into()));
            let file = Some((Path::new("FILE"), text));
            let layers = Layers::merge(schema, file, &environment.collect()).unwrap();
            let table: toml::Table = layers.read(Ok).unwrap();
            table.get("things").map(ToString::to_string)
        };
        let both = keys("[things.b]\nsize = 2\n", &[("QUARTET_THINGS_B_SIZE", "3")]);
        assert_eq!(
            both.as_deref(),
            Some("{ a = { size = 1 }, b = { size = 3 } }")
        );
        let own = keys("shipped = false\n[things.b]\nsize = 2\n", &[]);
        assert_eq!(own.as_deref(), Some("{ b = { size = 2 } }"));
        assert_eq!(keys("", &[("QUARTET_SHIPPED", "false")]), None);
    }

    #[test]
    fn no_variable_sets_a_key_with_a_dot_in_a_name() {
        let schema = Schema {
            defaults: &["[things.a]\nsize = 1\n"],
            open_tables: &["things"],
            shipped: None,
        };
        let file = Some((Path::new("FILE"), "[things.\"b.c\"]\nsize = 2\n"));
        let variables = [("QUARTET_THINGS_B_C_SIZE".to_owned(), "3".to_owned())];
        let layers = Layers::merge(schema, file, &variables.into()).unwrap();
        let error = layers.read(Ok::<toml::Table, _>).unwrap_err().to_string();
        let expected = "environment: unknown setting `QUARTET_THINGS_B_C_SIZE`";
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn a_secret_that_cannot_be_read_names_its_variable() {
        let error = sample(&[("QUARTET_PART_KEY_FILE", "/run/none")]).unwrap_err();
        let message = error.to_string();
        let expected = "QUARTET_PART_KEY_FILE: cannot read /run/none: No such file";
        assert!(message.starts_with(expected), "{message}");
        let fifo = std::env::temp_dir().join(format!("quartet-fifo-{}", std::process::id()));
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        let fifo = fifo.to_str().unwrap();
        // Neither is waited for, nor read until the memory is full.
        for endless in ["/dev/zero", fifo, "/proc/self/fd"] {
            let message = sample(&[("QUARTET_PART_KEY_FILE", endless)]).unwrap_err();
            let rule =
                format!("QUARTET_PART_KEY_FILE: cannot read {endless}: it is not a regular file");
            assert_eq!(message.to_string(), rule);
        }
        std::fs::remove_file(fifo).unwrap();
        let empty = sample(&[("QUARTET_PART_KEY_FILE", ""), ("QUARTET_PART_KEY", "x")]);
        assert_eq!(empty.unwrap().part.key.as_deref(), Some("x"));
    }

    #[test]
    fn a_file_has_a_bound() {
        let path = std::env::temp_dir().join(format!("quartet-large-{}", std::process::id()));
        std::fs::write(&path, "#".repeat(1024 * 1024)).unwrap();
        assert!(read(&path, None).is_ok());
        std::fs::write(&path, "#".repeat(1024 * 1024 + 1)).unwrap();
        let message = read(&path, None).unwrap_err().to_string();
        std::fs::remove_file(path).unwrap();
        assert!(
            message.ends_with("it is larger than 1048576 bytes"),
            "{message}"
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
