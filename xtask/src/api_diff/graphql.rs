//! Differences between two GraphQL schemas in their own language.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use async_graphql_parser::parse_schema;
use async_graphql_parser::types::{
    BaseType, EnumType, FieldDefinition, InputObjectType, InputValueDefinition, Type,
    TypeDefinition, TypeKind, TypeSystemDefinition, UnionType,
};

use super::change::Change;

/// # Errors
/// When the new one is no schema.
pub(super) fn compare(old: &str, new: &str) -> anyhow::Result<Vec<Change>> {
    let new = types(new)?;
    // Nobody could make a client from a schema that cannot be parsed.
    let Ok(old) = types(old) else {
        let what = "the old schema cannot be parsed";
        return Ok(vec![Change::compatible("", "schema-mended", what)]);
    };
    let mut changes = Vec::new();
    let written = written_by_service(&new);
    for (name, was) in &old {
        match new.get(name) {
            Some(is) => compare_types(name, was, is, &written, &mut changes),
            None => changes.push(Change::breaking(name, "type-removed", "is gone")),
        }
    }
    for name in new.keys().filter(|name| !old.contains_key(*name)) {
        changes.push(Change::compatible(name, "type-added", "is new"));
    }
    Ok(changes)
}

fn types(text: &str) -> anyhow::Result<BTreeMap<String, TypeKind>> {
    let document = parse_schema(text).context("the GraphQL schema cannot be parsed")?;
    let definitions = document.definitions.into_iter();
    Ok(definitions
        .filter_map(|definition| match definition {
            TypeSystemDefinition::Type(definition) => {
                let TypeDefinition { name, kind, .. } = definition.node;
                Some((name.node.to_string(), kind))
            }
            TypeSystemDefinition::Schema(_) | TypeSystemDefinition::Directive(_) => None,
        })
        .collect())
}

/// Names of the types that answers hold.
fn written_by_service(types: &BTreeMap<String, TypeKind>) -> BTreeSet<String> {
    let fields = types.values().flat_map(fields);
    fields.map(|field| name_of(&field.ty.node)).collect()
}

fn fields(kind: &TypeKind) -> Vec<&FieldDefinition> {
    let fields = match kind {
        TypeKind::Object(object) => &object.fields,
        TypeKind::Interface(interface) => &interface.fields,
        _ => return Vec::new(),
    };
    fields.iter().map(|field| &field.node).collect()
}

fn compare_types(
    name: &str,
    was: &TypeKind,
    is: &TypeKind,
    written: &BTreeSet<String>,
    changes: &mut Vec<Change>,
) {
    match (was, is) {
        (TypeKind::Scalar, TypeKind::Scalar) => {}
        (TypeKind::Object(_), TypeKind::Object(_))
        | (TypeKind::Interface(_), TypeKind::Interface(_)) => {
            compare_fields(name, &fields(was), &fields(is), changes);
            for gone in interfaces(was).difference(&interfaces(is)) {
                changes.push(Change::breaking(name, "interface-removed", gone));
            }
        }
        (TypeKind::Enum(was), TypeKind::Enum(is)) => {
            compare_enums(name, was, is, written.contains(name), changes);
        }
        (TypeKind::InputObject(was), TypeKind::InputObject(is)) => {
            compare_inputs(name, was, is, changes);
        }
        (TypeKind::Union(was), TypeKind::Union(is)) => compare_unions(name, was, is, changes),
        _ => changes.push(Change::breaking(name, "kind-changed", "is another kind")),
    }
}

fn compare_fields(
    owner: &str,
    old: &[&FieldDefinition],
    new: &[&FieldDefinition],
    changes: &mut Vec<Change>,
) {
    for was in old {
        let pointer = format!("{owner}.{}", was.name.node);
        let Some(is) = new.iter().find(|is| is.name.node == was.name.node) else {
            changes.push(Change::breaking(pointer, "field-removed", "is gone"));
            continue;
        };
        let (before, after) = (&was.ty.node, &is.ty.node);
        if before != after {
            let breaking = !is_at_least(after, before);
            let what = format!("{before} to {after}");
            changes.push(Change::new(breaking, &pointer, "field-type-changed", what));
        }
        let arguments = |field: &FieldDefinition| -> Vec<InputValueDefinition> {
            field
                .arguments
                .iter()
                .map(|argument| argument.node.clone())
                .collect()
        };
        let (before, after) = (arguments(was), arguments(is));
        compare_values(&pointer, "argument", &before, &after, changes);
    }
    for is in new {
        if !old.iter().any(|was| was.name.node == is.name.node) {
            let pointer = format!("{owner}.{}", is.name.node);
            changes.push(Change::compatible(pointer, "field-added", "is new"));
        }
    }
}

fn compare_inputs(
    name: &str,
    was: &InputObjectType,
    is: &InputObjectType,
    changes: &mut Vec<Change>,
) {
    let fields = |object: &InputObjectType| -> Vec<InputValueDefinition> {
        object
            .fields
            .iter()
            .map(|field| field.node.clone())
            .collect()
    };
    compare_values(name, "input field", &fields(was), &fields(is), changes);
}

/// Arguments and fields of inputs: what clients write.
fn compare_values(
    owner: &str,
    what: &'static str,
    old: &[InputValueDefinition],
    new: &[InputValueDefinition],
    changes: &mut Vec<Change>,
) {
    for was in old {
        let pointer = format!("{owner}.{}", was.name.node);
        let Some(is) = new.iter().find(|is| is.name.node == was.name.node) else {
            let what = format!("the {what} is gone");
            changes.push(Change::breaking(pointer, "input-removed", what));
            continue;
        };
        let (before, after) = (&was.ty.node, &is.ty.node);
        if before != after {
            let breaking = !is_at_least(before, after);
            let what = format!("{before} to {after}");
            changes.push(Change::new(breaking, &pointer, "input-type-changed", what));
        }
        let default = |value: &InputValueDefinition| {
            let default = value.default_value.as_ref();
            default.map(|default| default.node.to_string())
        };
        if default(was) != default(is) {
            let what = format!("{:?} to {:?}", default(was), default(is));
            changes.push(Change::breaking(pointer, "default-changed", what));
        }
    }
    for is in new {
        if !old.iter().any(|was| was.name.node == is.name.node) {
            let required = !is.ty.node.nullable && is.default_value.is_none();
            let rule = if required {
                "required-input-added"
            } else {
                "input-added"
            };
            let pointer = format!("{owner}.{}", is.name.node);
            changes.push(Change::new(
                required,
                pointer,
                rule,
                format!("the {what} is new"),
            ));
        }
    }
}

fn compare_enums(
    name: &str,
    was: &EnumType,
    is: &EnumType,
    written: bool,
    changes: &mut Vec<Change>,
) {
    let values = |kind: &EnumType| -> BTreeSet<String> {
        let values = kind.values.iter();
        values.map(|value| value.node.value.to_string()).collect()
    };
    let (before, after) = (values(was), values(is));
    for gone in before.difference(&after) {
        changes.push(Change::breaking(name, "enum-value-removed", gone));
    }
    for come in after.difference(&before) {
        changes.push(Change::new(written, name, "enum-value-added", come));
    }
}

fn compare_unions(name: &str, was: &UnionType, is: &UnionType, changes: &mut Vec<Change>) {
    let members = |union: &UnionType| -> BTreeSet<String> {
        let members = union.members.iter();
        members.map(|member| member.node.to_string()).collect()
    };
    let (before, after) = (members(was), members(is));
    for changed in before.symmetric_difference(&after) {
        changes.push(Change::breaking(name, "union-changed", changed));
    }
}

fn interfaces(kind: &TypeKind) -> BTreeSet<String> {
    let names = match kind {
        TypeKind::Object(object) => &object.implements,
        TypeKind::Interface(interface) => &interface.implements,
        _ => return BTreeSet::new(),
    };
    names.iter().map(|name| name.node.to_string()).collect()
}

/// Whether whoever expects `wanted` can take a `given`: the same, or never null where it might be.
fn is_at_least(given: &Type, wanted: &Type) -> bool {
    if given.nullable && !wanted.nullable {
        return false;
    }
    match (&given.base, &wanted.base) {
        (BaseType::Named(given), BaseType::Named(wanted)) => given == wanted,
        (BaseType::List(given), BaseType::List(wanted)) => is_at_least(given, wanted),
        _ => false,
    }
}

fn name_of(kind: &Type) -> String {
    match &kind.base {
        BaseType::Named(name) => name.to_string(),
        BaseType::List(inner) => name_of(inner),
    }
}
