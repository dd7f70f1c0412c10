//! Differences between two schemas, judged by who writes the value: a narrower schema breaks those
//! who send, a wider one those who receive.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::change::Change;

/// Who writes the value that the schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The client: what was accepted must stay accepted.
    Request,
    /// The service: nothing may come that could not come before.
    Response,
}

/// A schema and the document that its references point into.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) document: &'a Value,
    pub(super) schema: &'a Value,
}

/// Words whose greater value allows less.
const LOWER: [&str; 4] = ["minimum", "exclusiveMinimum", "minLength", "minItems"];
/// Words whose greater value allows more.
const UPPER: [&str; 4] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems"];

pub(super) struct Comparison<'a> {
    side: Side,
    changes: &'a mut Vec<Change>,
    /// Parameters are texts: for them null means nothing.
    passes_over_null: bool,
    /// Pairs of references that are being compared: schemas may hold themselves.
    open: Vec<(String, String)>,
}

impl<'a> At<'a> {
    pub(super) fn resolve(self) -> Self {
        let target = self.schema["$ref"].as_str();
        let target = target.and_then(|target| self.document.pointer(target.strip_prefix('#')?));
        match target {
            Some(schema) => Self { schema, ..self }.resolve(),
            None => self,
        }
    }

    fn below(self, schema: &'a Value) -> Self {
        Self { schema, ..self }
    }

    fn word(self, word: &str) -> Option<&'a Value> {
        self.schema.get(word)
    }

    fn types(self) -> BTreeSet<&'a str> {
        match &self.schema["type"] {
            Value::String(kind) => BTreeSet::from([kind.as_str()]),
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => BTreeSet::new(),
        }
    }

    /// The values that are allowed, where they are listed.
    fn values(self) -> Option<Vec<&'a Value>> {
        match (self.word("const"), self.word("enum")) {
            (Some(only), _) => Some(vec![only]),
            (None, Some(Value::Array(values))) => Some(values.iter().collect()),
            _ => None,
        }
    }

    fn properties(self) -> Vec<(&'a String, &'a Value)> {
        let properties = self.schema["properties"].as_object();
        properties.into_iter().flat_map(Map::iter).collect()
    }

    fn requires(self, name: &str) -> bool {
        let required = self.schema["required"].as_array();
        required.is_some_and(|names| names.iter().any(|known| known == name))
    }
}

impl<'a> Comparison<'a> {
    pub(super) fn new(side: Side, changes: &'a mut Vec<Change>) -> Self {
        Self {
            side,
            changes,
            passes_over_null: false,
            open: Vec::new(),
        }
    }

    /// For a parameter.
    pub(super) fn of_parameter(changes: &'a mut Vec<Change>) -> Self {
        Self {
            passes_over_null: true,
            ..Self::new(Side::Request, changes)
        }
    }

    pub(super) fn run(&mut self, pointer: &str, old: At<'_>, new: At<'_>) {
        let names = (name_of(old), name_of(new));
        if !names.0.is_empty() && self.open.contains(&names) {
            return;
        }
        self.open.push(names);
        let (old, new) = (old.resolve(), new.resolve());
        self.types(pointer, old, new);
        self.values(pointer, old, new);
        for word in ["format", "pattern"] {
            self.word(pointer, word, old, new);
        }
        self.limits(pointer, old, new);
        self.properties(pointer, old, new);
        self.inner(pointer, old, new);
        self.choices(pointer, old, new);
        self.open.pop();
    }

    /// Less is allowed than before.
    fn narrowed(&mut self, pointer: &str, rule: &'static str, what: impl Into<String>) {
        let breaking = self.side == Side::Request;
        self.changes
            .push(Change::new(breaking, pointer, rule, what));
    }

    /// More is allowed than before.
    fn widened(&mut self, pointer: &str, rule: &'static str, what: impl Into<String>) {
        let breaking = self.side == Side::Response;
        self.changes
            .push(Change::new(breaking, pointer, rule, what));
    }

    fn types(&mut self, pointer: &str, old: At<'_>, new: At<'_>) {
        let (mut before, mut after) = (old.types(), new.types());
        if self.passes_over_null {
            before.remove("null");
            after.remove("null");
        }
        if before.is_empty() && !after.is_empty() {
            self.narrowed(pointer, "type-narrowed", format!("any to {after:?}"));
            return;
        }
        if after.is_empty() && !before.is_empty() {
            self.widened(pointer, "type-widened", format!("{before:?} to any"));
            return;
        }
        for gone in before.difference(&after) {
            if !(*gone == "integer" && after.contains("number")) {
                self.narrowed(pointer, "type-narrowed", format!("no {gone} any more"));
            }
        }
        for come in after.difference(&before) {
            if !(*come == "integer" && before.contains("number")) {
                self.widened(pointer, "type-widened", format!("now {come} too"));
            }
        }
    }

    fn values(&mut self, pointer: &str, old: At<'_>, new: At<'_>) {
        match (old.values(), new.values()) {
            (Some(before), Some(after)) => {
                for gone in before.iter().filter(|value| !after.contains(value)) {
                    self.narrowed(pointer, "enum-value-removed", gone.to_string());
                }
                for come in after.iter().filter(|value| !before.contains(value)) {
                    self.widened(pointer, "enum-value-added", come.to_string());
                }
            }
            (None, Some(_)) => self.narrowed(pointer, "enum-added", "values are listed now"),
            (Some(_), None) => self.widened(pointer, "enum-removed", "any value may be"),
            (None, None) => {}
        }
    }

    fn word(&mut self, pointer: &str, word: &str, old: At<'_>, new: At<'_>) {
        let (narrowed, widened) = match word {
            "format" => ("format-narrowed", "format-widened"),
            _ => ("pattern-narrowed", "pattern-widened"),
        };
        match (old.word(word), new.word(word)) {
            (None, Some(after)) => self.narrowed(pointer, narrowed, format!("now {after}")),
            (Some(before), None) => {
                self.widened(pointer, widened, format!("{before} no more"));
            }
            // Which of the two allows more is not known: it breaks either side.
            (Some(before), Some(after)) if before != after => {
                let what = format!("{before} to {after}");
                self.changes.push(Change::breaking(pointer, narrowed, what));
            }
            _ => {}
        }
    }

    fn limits(&mut self, pointer: &str, old: At<'_>, new: At<'_>) {
        for (words, is_upper) in [(LOWER, false), (UPPER, true)] {
            for word in words {
                let (before, after) = (old.word(word), new.word(word));
                let number = |value: Option<&Value>| value.and_then(Value::as_f64);
                let what = || match (before, after) {
                    (Some(before), Some(after)) => format!("{word} {before} to {after}"),
                    (None, Some(after)) => format!("{word} {after} is new"),
                    (Some(before), None) => format!("{word} {before} is gone"),
                    (None, None) => String::new(),
                };
                let tighter = match (number(before), number(after)) {
                    (Some(before), Some(after)) if before < after => !is_upper,
                    (Some(before), Some(after)) if before > after => is_upper,
                    (None, Some(_)) => true,
                    (Some(_), None) => false,
                    _ => continue,
                };
                if tighter {
                    self.narrowed(pointer, "limit-narrowed", what());
                } else {
                    self.widened(pointer, "limit-widened", what());
                }
            }
        }
    }

    fn properties(&mut self, pointer: &str, old: At<'_>, new: At<'_>) {
        let (before, after) = (old.properties(), new.properties());
        for (name, schema) in &before {
            let pointer = format!("{pointer}/{name}");
            let Some((_, now)) = after.iter().find(|(known, _)| known == name) else {
                // Who sends it is refused, who reads it misses it.
                self.changes
                    .push(Change::breaking(pointer, "property-removed", "is gone"));
                continue;
            };
            match (old.requires(name), new.requires(name)) {
                (false, true) => self.narrowed(&pointer, "property-required", "is required now"),
                (true, false) => self.widened(&pointer, "property-optional", "may be absent now"),
                _ => {}
            }
            self.run(&pointer, old.below(schema), new.below(now));
        }
        for (name, _) in after {
            if !before.iter().any(|(known, _)| *known == name) {
                let required = self.side == Side::Request && new.requires(name);
                let rule = if required {
                    "required-property-added"
                } else {
                    "property-added"
                };
                let pointer = format!("{pointer}/{name}");
                self.changes
                    .push(Change::new(required, pointer, rule, "is new"));
            }
        }
    }

    fn inner(&mut self, pointer: &str, old: At<'_>, new: At<'_>) {
        if let (Some(before), Some(after)) = (old.word("items"), new.word("items")) {
            self.run(
                &format!("{pointer}/[]"),
                old.below(before),
                new.below(after),
            );
        }
        let open = |at: At<'_>| at.word("additionalProperties") != Some(&Value::Bool(false));
        match (open(old), open(new)) {
            (true, false) => self.narrowed(pointer, "members-closed", "no other members any more"),
            // Members that are not described are passed over by who reads.
            (false, true) => {
                let what = "other members are allowed now";
                self.changes
                    .push(Change::compatible(pointer, "members-opened", what));
            }
            _ => {}
        }
        if let (Some(before), Some(after)) = (map_of(old), map_of(new)) {
            self.run(&format!("{pointer}/*"), old.below(before), new.below(after));
        }
    }

    fn choices(&mut self, pointer: &str, old: At<'_>, new: At<'_>) {
        for word in ["oneOf", "anyOf", "allOf"] {
            let (before, after) = (list_of(old, word), list_of(new, word));
            // One more of `allOf` allows less, one more of the others allows more.
            let all = word == "allOf";
            for gone in before.iter().filter(|choice| !after.contains(choice)) {
                if all {
                    self.widened(pointer, "part-removed", gone.to_string());
                } else {
                    self.narrowed(pointer, "choice-removed", gone.to_string());
                }
            }
            for come in after.iter().filter(|choice| !before.contains(choice)) {
                if all {
                    self.narrowed(pointer, "part-added", come.to_string());
                } else {
                    self.widened(pointer, "choice-added", come.to_string());
                }
            }
            // What they refer to may have changed.
            for same in before.iter().filter(|choice| after.contains(choice)) {
                self.run(pointer, old.below(same), new.below(same));
            }
        }
    }
}

fn name_of(at: At<'_>) -> String {
    at.schema["$ref"].as_str().unwrap_or_default().to_owned()
}

fn map_of(at: At<'_>) -> Option<&Value> {
    at.word("additionalProperties")
        .filter(|value| value.is_object())
}

fn list_of<'a>(at: At<'a>, word: &str) -> Vec<&'a Value> {
    let list = at.schema[word].as_array();
    list.into_iter().flatten().collect()
}
