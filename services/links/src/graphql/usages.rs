//! Whether variables are allowed where they are used (5.8.5 All Variable Usages Are Allowed), by the
//! types that they are declared with.
//!
//! async-graphql compares the types of variables that are arguments, and the values of those that are
//! given. It misses a variable that may be null in `@include` and `@skip`, and one within an input
//! object that is absent: both are wrong whatever is sent, and a client would learn of its mistake
//! with the first user whose data differs. Types are read from the text of the schema, which is what
//! clients compare their documents with.

use std::collections::{HashMap, HashSet};

use async_graphql::{
    Name, Pos, Positioned,
    parser::{
        parse_schema,
        types::{
            BaseType, Directive, ExecutableDocument, InputValueDefinition, OperationDefinition,
            OperationType, Selection, SelectionSet, Type, TypeKind, TypeSystemDefinition,
            VariableDefinition,
        },
    },
};
use async_graphql_value::{ConstValue, Value};

type Arguments = [(Positioned<Name>, Positioned<Value>)];

/// The types of the schema, as far as variables are concerned.
#[derive(Debug, Default)]
pub(super) struct Types {
    /// The fields of output types.
    fields: HashMap<(Name, Name), Field>,
    /// The fields of input objects.
    inputs: HashMap<Name, Inputs>,
    /// The argument of `@include` and `@skip`.
    condition: Inputs,
}

type Inputs = HashMap<Name, Input>;

#[derive(Debug)]
struct Field {
    arguments: Inputs,
    returns: Name,
}

#[derive(Debug)]
struct Input {
    ty: Type,
    has_default: bool,
}

/// A variable whose type does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrongUsage {
    pub(super) message: String,
    /// Line and column, from 1.
    pub(super) at: (usize, usize),
}

impl Types {
    /// # Errors
    /// When the text is not a schema.
    pub(super) fn read(sdl: &str) -> Result<Self, async_graphql::parser::Error> {
        let mut types = Self::default();
        let boolean = Type {
            base: BaseType::Named(Name::new("Boolean")),
            nullable: false,
        };
        let condition = Input {
            ty: boolean,
            has_default: false,
        };
        types.condition.insert(Name::new("if"), condition);
        for definition in parse_schema(sdl)?.definitions {
            let TypeSystemDefinition::Type(definition) = definition else {
                continue;
            };
            let name = definition.node.name.node;
            match definition.node.kind {
                TypeKind::Object(object) => {
                    for field in object.fields.into_iter().map(|field| field.node) {
                        let known = Field {
                            arguments: inputs(field.arguments),
                            returns: named(&field.ty.node).clone(),
                        };
                        types.fields.insert((name.clone(), field.name.node), known);
                    }
                }
                TypeKind::InputObject(object) => {
                    types.inputs.insert(name, inputs(object.fields));
                }
                _ => {}
            }
        }
        Ok(types)
    }

    /// # Errors
    /// The first variable that is not allowed in its place.
    pub(super) fn check(
        &self,
        operation: &OperationDefinition,
        document: &ExecutableDocument,
    ) -> Result<(), WrongUsage> {
        let definitions = operation.variable_definitions.iter();
        let mut walk = UsageWalk {
            types: self,
            variables: definitions
                .map(|definition| (&definition.node.name.node, &definition.node))
                .collect(),
            document,
            seen: HashSet::new(),
        };
        let root = match operation.ty {
            OperationType::Query => "Query",
            OperationType::Mutation => "Mutation",
            OperationType::Subscription => "Subscription",
        };
        walk.directives(&operation.directives)?;
        walk.selections(&Name::new(root), &operation.selection_set.node)
    }
}

fn inputs(definitions: Vec<Positioned<InputValueDefinition>>) -> Inputs {
    let definitions = definitions.into_iter().map(|definition| definition.node);
    definitions
        .map(|definition| {
            let input = Input {
                ty: definition.ty.node,
                has_default: definition.default_value.is_some(),
            };
            (definition.name.node, input)
        })
        .collect()
}

/// The type within all lists.
fn named(ty: &Type) -> &Name {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(item) => named(item),
    }
}

struct UsageWalk<'a> {
    types: &'a Types,
    variables: HashMap<&'a Name, &'a VariableDefinition>,
    document: &'a ExecutableDocument,
    /// Fragments, each of which is looked at once.
    seen: HashSet<&'a Name>,
}

impl<'a> UsageWalk<'a> {
    fn selections(&mut self, parent: &Name, set: &'a SelectionSet) -> Result<(), WrongUsage> {
        for selection in &set.items {
            self.directives(selection.node.directives())?;
            match &selection.node {
                Selection::Field(field) => {
                    let field = &field.node;
                    let key = (parent.clone(), field.name.node.clone());
                    // Unknown fields are reported by the validation.
                    if let Some(known) = self.types.fields.get(&key) {
                        self.arguments(&known.arguments, &field.arguments)?;
                        self.selections(&known.returns, &field.selection_set.node)?;
                    }
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    if let Some(fragment) = self.document.fragments.get(name)
                        && self.seen.insert(name)
                    {
                        let fragment = &fragment.node;
                        self.directives(&fragment.directives)?;
                        let parent = &fragment.type_condition.node.on.node;
                        self.selections(parent, &fragment.selection_set.node)?;
                    }
                }
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref();
                    let parent = condition.map_or(parent, |condition| &condition.node.on.node);
                    self.selections(parent, &fragment.node.selection_set.node)?;
                }
            }
        }
        Ok(())
    }

    fn directives(&self, directives: &[Positioned<Directive>]) -> Result<(), WrongUsage> {
        for directive in directives {
            if ["include", "skip"].contains(&directive.node.name.node.as_str()) {
                self.arguments(&self.types.condition, &directive.node.arguments)?;
            }
        }
        Ok(())
    }

    fn arguments(&self, known: &Inputs, given: &Arguments) -> Result<(), WrongUsage> {
        for (name, value) in given {
            if let Some(input) = known.get(&name.node) {
                self.value(&value.node, &input.ty, input.has_default, value.pos)?;
            }
        }
        Ok(())
    }

    fn value(
        &self,
        value: &Value,
        expected: &Type,
        has_default: bool,
        at: Pos,
    ) -> Result<(), WrongUsage> {
        match value {
            Value::Variable(name) => self.variable(name, expected, has_default, at),
            Value::List(items) => {
                if let BaseType::List(item) = &expected.base {
                    for value in items {
                        self.value(value, item, false, at)?;
                    }
                }
                Ok(())
            }
            // In a list, an object stands for a list of one.
            Value::Object(fields) => {
                let known = self.types.inputs.get(named(expected));
                for (name, value) in fields {
                    if let Some(input) = known.and_then(|known| known.get(name)) {
                        self.value(value, &input.ty, input.has_default, at)?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn variable(
        &self,
        name: &Name,
        expected: &Type,
        has_default: bool,
        at: Pos,
    ) -> Result<(), WrongUsage> {
        // Undefined variables are reported by the validation.
        let Some(variable) = self.variables.get(name) else {
            return Ok(());
        };
        let (ty, default) = (&variable.var_type.node, &variable.default_value);
        let default = default.as_ref().map(|value| &value.node);
        let is_defaulted = has_default || default.is_some_and(|value| *value != ConstValue::Null);
        let is_nullable = ty.nullable && !is_defaulted;
        if fits(&ty.base, &expected.base) && (expected.nullable || !is_nullable) {
            return Ok(());
        }
        Err(WrongUsage {
            message: format!(
                "Variable \"${name}\" of type \"{ty}\" used in position expecting type \"{expected}\""
            ),
            at: (at.line, at.column),
        })
    }
}

/// Whether a variable of one type may be used for another, apart from being null itself.
fn fits(variable: &BaseType, expected: &BaseType) -> bool {
    match (variable, expected) {
        (BaseType::Named(one), BaseType::Named(other)) => one == other,
        (BaseType::List(one), BaseType::List(other)) => {
            fits(&one.base, &other.base) && (other.nullable || !one.nullable)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    const SCHEMA: &str =
        "type Query { node(id: ID!, size: Int! = 3, in: In, tags: [String!]): Node }
        type Node { id: ID! next(limit: Int): Node }
        input In { name: String, count: Int! = 1, list: [String!], inner: In, must: Boolean! }";

    fn check(query: &str) -> Result<(), WrongUsage> {
        let document = parse_query(query).unwrap();
        let types = Types::read(SCHEMA).unwrap();
        let (_, operation) = document.operations.iter().next().unwrap();
        types.check(&operation.node, &document)
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn variables_fit_their_places_or_are_named() {
        for allowed in [
            "query($i: ID!) { node(id: $i) { id } }",
            "query($i: ID = \"a\") { node(id: $i) { id } }",
            "query($n: Int) { node(id: 1, size: $n) { id } }",
            "query($o: Boolean!) { node(id: 1) @include(if: $o) { id } }",
            "query($o: Boolean = true) { node(id: 1) { id @skip(if: $o) } }",
            "query($s: String) { node(id: 1, in: {name: $s}) { id } }",
            "query($s: String!) { node(id: 1, in: {list: [$s], inner: {name: $s}}) { id } }",
            "query($n: Int) { node(id: 1, in: {count: $n}) { id } }",
            "query($l: [String!]!) { node(id: 1, tags: $l, in: {list: $l}) { id } }",
            "query($i: In!) { node(id: 1, in: $i) { id } }",
            "query { node(id: $undefined, unknown: 1) { id unknown(x: $undefined) } }",
        ] {
            assert_eq!(check(allowed), Ok(()), "{allowed}");
        }
        for (refused, variable, ty, expected) in [
            ("query($i: ID) { node(id: $i) { id } }", "i", "ID", "ID!"),
            (
                "query($i: ID = null) { node(id: $i) { id } }",
                "i",
                "ID",
                "ID!",
            ),
            (
                "query($o: Boolean) { node(id: 1) @include(if: $o) { id } }",
                "o",
                "Boolean",
                "Boolean!",
            ),
            (
                "query($o: Boolean) { node(id: 1) { ... @skip(if: $o) { id } } }",
                "o",
                "Boolean",
                "Boolean!",
            ),
            (
                "query($o: Int!) { node(id: 1) { ...f } } fragment f on Node { id @skip(if: $o) }",
                "o",
                "Int!",
                "Boolean!",
            ),
            (
                "query($o: Boolean) { node(id: 1) { ...f @include(if: $o) } } fragment f on Node { id }",
                "o",
                "Boolean",
                "Boolean!",
            ),
            (
                "query($s: Int) { node(id: 1, in: {name: $s}) { id } }",
                "s",
                "Int",
                "String",
            ),
            (
                "query($s: Int) { node(id: 1, in: {inner: {inner: {name: $s}}}) { id } }",
                "s",
                "Int",
                "String",
            ),
            (
                "query($s: String) { node(id: 1, in: {list: [$s]}) { id } }",
                "s",
                "String",
                "String!",
            ),
            (
                "query($s: String!) { node(id: 1, in: {list: $s}) { id } }",
                "s",
                "String!",
                "[String!]",
            ),
            (
                "query($l: [String]) { node(id: 1, tags: $l) { id } }",
                "l",
                "[String]",
                "[String!]",
            ),
            (
                "query($b: Boolean) { node(id: 1, in: {must: $b}) { id } }",
                "b",
                "Boolean",
                "Boolean!",
            ),
            (
                "query($n: String) { node(id: 1) { next { next(limit: $n) { id } } } }",
                "n",
                "String",
                "Int",
            ),
        ] {
            let message = format!(
                "Variable \"${variable}\" of type \"{ty}\" used in position expecting type \"{expected}\""
            );
            assert_eq!(check(refused).unwrap_err().message, message, "{refused}");
        }
    }

    #[test]
    fn the_committed_schema_can_be_read() {
        let types = Types::read(include_str!("../../schema.graphql")).unwrap();
        assert!(types.inputs[&Name::new("UpdateLinkInput")].contains_key(&Name::new("title")));
        for root in ["Query", "Mutation", "Subscription"] {
            assert!(
                types.fields.keys().any(|(parent, _)| parent == root),
                "{root}"
            );
        }
    }
}
