//! Differences between two schemas, judged by who writes the value: a narrower schema breaks those
//! who send, a wider one those who receive.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Value, json};

use super::Change;
use super::entries::{entries, pairs};

/// Who writes the value that the schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The client, as text: null has no meaning.
    Parameter,
    /// The client: what was accepted must stay accepted.
    Request,
    /// The service: what could not be sent must not be sent.
    Response,
}

#[derive(Clone, Copy)]
enum Effect {
    /// The new schema allows less.
    Narrower,
    /// The new schema allows more.
    Wider,
    /// Which one allows more cannot be decided: it breaks either side.
    Unclear,
}

/// A set of allowed values; `None` allows all.
type Set<'a> = Option<Vec<Cow<'a, Value>>>;

/// Keywords whose greater value allows less.
const LOWER: [&str; 4] = ["minimum", "exclusiveMinimum", "minLength", "minItems"];
/// Keywords whose greater value allows more.
const UPPER: [&str; 4] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems"];

pub(super) struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    side: Side,
    pub(super) changes: Vec<Change>,
    /// Pairs of references that are being compared: schemas may be recursive.
    open: Vec<(String, String)>,
}

/// Follows references within a document.
pub(super) fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let reference = value["$ref"].as_str();
    let target = reference.and_then(|target| document.pointer(target.strip_prefix('#')?));
    target.map_or(value, |target| resolve(document, target))
}

impl<'a> Comparison<'a> {
    pub(super) fn new(old: &'a Value, new: &'a Value, side: Side) -> Self {
        Self {
            old,
            new,
            side,
            changes: Vec::new(),
            open: Vec::new(),
        }
    }

    pub(super) fn run(&mut self, pointer: &str, old: &'a Value, new: &'a Value) {
        let reference = |schema: &Value| schema["$ref"].as_str().unwrap_or_default().to_owned();
        let references = (reference(old), reference(new));
        if !references.0.is_empty() && self.open.contains(&references) {
            return;
        }
        self.open.push(references);
        let (old, new) = (resolve(self.old, old), resolve(self.new, new));
        self.set(
            pointer,
            ("type-narrowed", "type-widened"),
            self.types(old),
            self.types(new),
        );
        self.values(pointer, old, new);
        self.words(pointer, old, new);
        self.limits(pointer, old, new);
        self.properties(pointer, old, new);
        self.members(pointer, old, new);
        self.choices(pointer, old, new);
        self.open.pop();
    }

    fn effect(&mut self, effect: Effect, pointer: &str, rule: &str, what: impl Into<String>) {
        let breaking = match effect {
            Effect::Narrower => self.side != Side::Response,
            Effect::Wider => self.side == Side::Response,
            Effect::Unclear => true,
        };
        self.changes
            .push(Change::new(breaking, pointer, rule, what));
    }

    /// Compares two sets, with the rules for less and for more.
    fn set(&mut self, pointer: &str, rules: (&str, &str), before: Set<'_>, after: Set<'_>) {
        let (less, more) = rules;
        match (before, after) {
            (Some(before), Some(after)) => {
                for removed in before.iter().filter(|value| !after.contains(value)) {
                    self.effect(
                        Effect::Narrower,
                        pointer,
                        less,
                        format!("{removed} removed"),
                    );
                }
                for added in after.iter().filter(|value| !before.contains(value)) {
                    self.effect(Effect::Wider, pointer, more, format!("{added} added"));
                }
            }
            (None, Some(_)) => self.effect(Effect::Narrower, pointer, less, "no longer any"),
            (Some(_), None) => self.effect(Effect::Wider, pointer, more, "any"),
            (None, None) => {}
        }
    }

    fn types(&self, schema: &'a Value) -> Set<'a> {
        let mut types: Vec<Cow<'a, Value>> = match &schema["type"] {
            Value::Null => return None,
            Value::Array(types) => types.iter().map(Cow::Borrowed).collect(),
            only => vec![Cow::Borrowed(only)],
        };
        if types.iter().any(|kind| **kind == "number") {
            types.push(Cow::Owned(json!("integer")));
        }
        if self.side == Side::Parameter {
            types.retain(|kind| **kind != "null");
        }
        Some(types)
    }

    fn values(&mut self, pointer: &str, old: &'a Value, new: &'a Value) {
        let listed = |schema: &'a Value| -> Set<'a> {
            match (schema.get("const"), &schema["enum"]) {
                (Some(only), _) => Some(vec![Cow::Borrowed(only)]),
                (None, Value::Array(values)) => Some(values.iter().map(Cow::Borrowed).collect()),
                _ => None,
            }
        };
        let (before, after) = (listed(old), listed(new));
        let rules = if before.is_some() && after.is_some() {
            ("enum-value-removed", "enum-value-added")
        } else {
            ("enum-added", "enum-removed")
        };
        self.set(pointer, rules, before, after);
    }

    fn words(&mut self, pointer: &str, old: &Value, new: &Value) {
        for word in ["format", "pattern"] {
            let (before, after) = (&old[word], &new[word]);
            let (effect, rule) = match (before.is_null(), after.is_null()) {
                (true, false) => (Effect::Narrower, "narrowed"),
                (false, true) => (Effect::Wider, "widened"),
                (false, false) if before != after => (Effect::Unclear, "narrowed"),
                _ => continue,
            };
            let rule = format!("{word}-{rule}");
            self.effect(effect, pointer, &rule, format!("{before} to {after}"));
        }
    }

    fn limits(&mut self, pointer: &str, old: &Value, new: &Value) {
        for word in LOWER.into_iter().chain(UPPER) {
            let (before, after) = (&old[word], &new[word]);
            let is_narrower = match (before.as_f64(), after.as_f64()) {
                (Some(before), Some(after)) => match before.total_cmp(&after) {
                    Ordering::Less => LOWER.contains(&word),
                    Ordering::Greater => UPPER.contains(&word),
                    Ordering::Equal => continue,
                },
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (None, None) => continue,
            };
            let (effect, rule) = if is_narrower {
                (Effect::Narrower, "limit-narrowed")
            } else {
                (Effect::Wider, "limit-widened")
            };
            self.effect(effect, pointer, rule, format!("{word} {before} to {after}"));
        }
    }

    fn properties(&mut self, pointer: &str, old: &'a Value, new: &'a Value) {
        let requires = |schema: &Value, name: &str| {
            let required = schema["required"].as_array();
            required.is_some_and(|names| names.iter().any(|known| known == name))
        };
        for (name, was, is) in pairs(entries(&old["properties"]), entries(&new["properties"])) {
            let pointer = format!("{pointer}/{name}");
            match (was, is) {
                (Some(was), Some(is)) => {
                    match (requires(old, &name), requires(new, &name)) {
                        (false, true) => {
                            self.effect(
                                Effect::Narrower,
                                &pointer,
                                "property-required",
                                "required",
                            );
                        }
                        (true, false) => {
                            self.effect(Effect::Wider, &pointer, "property-optional", "optional");
                        }
                        _ => {}
                    }
                    self.run(&pointer, was, is);
                }
                // Rejected when it is sent, missed when it is read.
                (Some(_), None) => {
                    self.effect(Effect::Unclear, &pointer, "property-removed", "removed");
                }
                (None, _) if self.side != Side::Response && requires(new, &name) => {
                    self.effect(Effect::Narrower, &pointer, "required-property-added", "new");
                }
                (None, _) => {
                    self.changes
                        .push(Change::compatible(&pointer, "property-added", "new"));
                }
            }
        }
    }

    /// Elements of arrays, and members that are not listed as properties.
    fn members(&mut self, pointer: &str, old: &'a Value, new: &'a Value) {
        if let (Some(before), Some(after)) = (old.get("items"), new.get("items")) {
            self.run(&format!("{pointer}/[]"), before, after);
        }
        let (before, after) = (&old["additionalProperties"], &new["additionalProperties"]);
        match (before == &json!(false), after == &json!(false)) {
            (false, true) => {
                self.effect(
                    Effect::Narrower,
                    pointer,
                    "members-closed",
                    "no other members",
                );
            }
            // Readers ignore members that are not described.
            (true, false) => {
                let change = Change::compatible(pointer, "members-opened", "other members");
                self.changes.push(change);
            }
            _ => {}
        }
        if before.is_object() && after.is_object() {
            self.run(&format!("{pointer}/*"), before, after);
        }
    }

    fn choices(&mut self, pointer: &str, old: &'a Value, new: &'a Value) {
        for word in ["oneOf", "anyOf", "allOf"] {
            let list = |schema: &'a Value| -> Vec<&'a Value> {
                schema[word].as_array().into_iter().flatten().collect()
            };
            let (before, after) = (list(old), list(new));
            let set = |list: &[&'a Value]| -> Set<'a> {
                Some(list.iter().map(|&choice| Cow::Borrowed(choice)).collect())
            };
            if word == "allOf" {
                // One more of these allows less.
                self.set(
                    pointer,
                    ("part-added", "part-removed"),
                    set(&after),
                    set(&before),
                );
            } else {
                self.set(
                    pointer,
                    ("choice-removed", "choice-added"),
                    set(&before),
                    set(&after),
                );
            }
            // What they refer to may have changed.
            for same in before.iter().filter(|choice| after.contains(choice)) {
                self.run(pointer, same, same);
            }
        }
    }
}
