//! Compiles schemas of a document where they stand, each once. References lead within the document
//! only: nothing is fetched or read, and a schema with another one cannot be compiled.

use std::{collections::HashMap, sync::Arc};

use jsonschema::{
    Draft, PatternOptions, Registry, RegistryBuilder, Resource, ValidationOptions, Validator,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::schema::{Direction, follow, prepare};

const URI: &str = "json-schema:///document";
/// Steps of a pattern with look-around or back references, which has no other bound. Others take
/// time in proportion to the text.
const MAX_PATTERN_STEPS: usize = 10_000;
/// Of one compiled pattern.
const MAX_PATTERN_BYTES: usize = 10 << 20;
/// Keywords that say nothing about values.
const ANNOTATIONS: [&str; 10] = [
    "title",
    "description",
    "default",
    "example",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$comment",
    "externalDocs",
];
const UNENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'~')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.');

/// The validators of one direction.
pub(super) struct Validators<'d> {
    document: &'d Value,
    options: ValidationOptions<'d>,
    /// By the place of the schema.
    known: HashMap<String, Result<Arc<Validator>, Arc<str>>>,
}

/// The document in the form for a direction, ready for [`Validators`].
pub(super) struct PreparedDocument {
    pub(super) document: Value,
    registry: Registry<'static>,
}

impl PreparedDocument {
    /// # Errors
    /// When the document cannot be read as a set of schemas.
    pub(super) fn new(
        document: &Value,
        direction: Direction,
        formats: &[String],
    ) -> Result<Self, String> {
        let document = prepare(document, direction, formats);
        let resource = Resource::from_contents(document.clone());
        let registry = Registry::new().draft(Draft::Draft202012);
        let registry = registry
            .add(URI, resource)
            .and_then(RegistryBuilder::prepare);
        let registry = registry.map_err(|error| error.to_string())?;
        Ok(Self { document, registry })
    }

    pub(super) fn validators(&self) -> Validators<'_> {
        let patterns = PatternOptions::fancy_regex()
            .backtrack_limit(MAX_PATTERN_STEPS)
            .size_limit(MAX_PATTERN_BYTES);
        Validators {
            document: &self.document,
            options: jsonschema::options()
                .with_draft(Draft::Draft202012)
                .with_registry(&self.registry)
                .with_pattern_options(patterns)
                .should_validate_formats(true)
                .offline(),
            known: HashMap::new(),
        }
    }
}

impl<'d> Validators<'d> {
    pub(super) fn document(&self) -> &'d Value {
        self.document
    }

    pub(super) fn schema(&self, pointer: &str) -> Option<&'d Value> {
        self.document.pointer(pointer)
    }

    /// The validator of the schema at a pointer; `None`: it allows anything.
    ///
    /// # Errors
    /// Why it cannot be compiled.
    pub(super) fn at(&mut self, pointer: &str) -> Result<Option<Arc<Validator>>, Arc<str>> {
        // Equal ones are compiled once.
        let pointer = follow(self.document, pointer);
        let schema = self.document.pointer(&pointer);
        if schema.is_none_or(is_trivial) {
            return Ok(None);
        }
        if let Some(known) = self.known.get(&pointer) {
            return known.clone().map(Some);
        }
        let place = utf8_percent_encode(&pointer, UNENCODED);
        let reference = json!({ "$ref": format!("{URI}#{place}") });
        let built = self.options.build(&reference);
        let built = built
            .map(Arc::new)
            .map_err(|error| Arc::from(error.to_string()));
        self.known.insert(pointer, built.clone());
        built.map(Some)
    }
}

fn is_trivial(schema: &Value) -> bool {
    let says_nothing = |keys: &Map<String, Value>| {
        let mut names = keys.keys();
        names.all(|name| ANNOTATIONS.contains(&name.as_str()) || name.starts_with("x-"))
    };
    match schema {
        Value::Bool(allows) => *allows,
        Value::Object(keys) => says_nothing(keys),
        _ => false,
    }
}

/// One token of a JSON pointer.
pub(super) fn token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
