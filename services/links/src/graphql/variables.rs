//! Variables as the specification says (6.1.2 Coercing Variable Values, 6.4.1 Coercing Field
//! Arguments), before async-graphql sees the operation.
//!
//! async-graphql reads a variable that is absent as null, and ignores the default of a variable in
//! `@include` and `@skip`. The first is a loss of data: an update whose variables are not all sent
//! would clear the fields that it does not mention. So the values are put in place of the variables,
//! and the operation that is executed has none:
//!
//! ```text
//! given, null included -> the value
//! absent, with default -> the default
//! absent, nullable     -> the argument or input field is omitted; null within a list
//! absent or null, not nullable -> the request is rejected
//! ```
//!
//! The document is validated as it was sent before: without variables it no longer shows that one is
//! unused, undefined, or of the wrong type for its place.

use std::collections::{HashMap, HashSet};

use async_graphql::{
    Name, Positioned, Variables,
    parser::types::{
        Directive, DocumentOperations, ExecutableDocument, FragmentDefinition, OperationDefinition,
        Selection, SelectionSet,
    },
};
use async_graphql_value::{ConstValue, Value};

type Arguments = Vec<(Positioned<Name>, Positioned<Value>)>;

/// A variable that must have a value and has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MissingVariable {
    pub(super) name: String,
    /// Whether it is given as null.
    pub(super) is_null: bool,
    /// Line and column of its definition, from 1.
    pub(super) at: (usize, usize),
}

/// The values of an operation's variables. Those that are absent have none.
#[derive(Debug, Default)]
pub(super) struct Values(HashMap<Name, Value>);

impl Values {
    /// # Errors
    /// When a variable that is not nullable has no value.
    pub(super) fn new(
        operation: &OperationDefinition,
        given: &Variables,
    ) -> Result<Self, MissingVariable> {
        let mut values = HashMap::new();
        for definition in &operation.variable_definitions {
            let variable = &definition.node;
            let name = &variable.name.node;
            let default = variable.default_value.as_ref().map(|value| &value.node);
            let value = given.get(name).or(default).cloned();
            let is_null = value == Some(ConstValue::Null);
            if !variable.var_type.node.nullable && (is_null || value.is_none()) {
                return Err(MissingVariable {
                    name: name.to_string(),
                    is_null,
                    at: (definition.pos.line, definition.pos.column),
                });
            }
            if let Some(value) = value {
                values.insert(name.clone(), value.into_value());
            }
        }
        Ok(Self(values))
    }
}

/// The operation with values in place of its variables, and the fragments that it uses.
pub(super) fn replace(
    operation: Positioned<OperationDefinition>,
    mut fragments: HashMap<Name, Positioned<FragmentDefinition>>,
    values: &Values,
) -> ExecutableDocument {
    let mut operation = operation;
    let mut replacement = Replacement {
        values,
        used: Vec::new(),
    };
    operation.node.variable_definitions.clear();
    replacement.directives(&mut operation.node.directives);
    replacement.selections(&mut operation.node.selection_set.node);
    let mut kept = HashMap::new();
    let mut seen = HashSet::new();
    while let Some(name) = replacement.used.pop() {
        if seen.insert(name.clone())
            && let Some(mut fragment) = fragments.remove(&name)
        {
            replacement.directives(&mut fragment.node.directives);
            replacement.selections(&mut fragment.node.selection_set.node);
            kept.insert(name, fragment);
        }
    }
    ExecutableDocument {
        operations: DocumentOperations::Single(operation),
        fragments: kept,
    }
}

struct Replacement<'a> {
    values: &'a Values,
    /// Fragments that are spread and not yet replaced.
    used: Vec<Name>,
}

impl Replacement<'_> {
    fn selections(&mut self, set: &mut SelectionSet) {
        for selection in &mut set.items {
            self.directives(selection.node.directives_mut());
            match &mut selection.node {
                Selection::Field(field) => {
                    self.arguments(&mut field.node.arguments);
                    self.selections(&mut field.node.selection_set.node);
                }
                Selection::FragmentSpread(spread) => {
                    self.used.push(spread.node.fragment_name.node.clone());
                }
                Selection::InlineFragment(fragment) => {
                    self.selections(&mut fragment.node.selection_set.node);
                }
            }
        }
    }

    fn directives(&self, directives: &mut [Positioned<Directive>]) {
        for directive in directives {
            self.arguments(&mut directive.node.arguments);
        }
    }

    fn arguments(&self, arguments: &mut Arguments) {
        arguments.retain_mut(
            |(_, value)| match self.value(std::mem::take(&mut value.node)) {
                Some(replaced) => {
                    value.node = replaced;
                    true
                }
                None => false,
            },
        );
    }

    /// `None` for a variable that is absent.
    fn value(&self, value: Value) -> Option<Value> {
        Some(match value {
            Value::Variable(name) => return self.values.0.get(&name).cloned(),
            Value::List(items) => {
                let items = items.into_iter();
                Value::List(
                    items
                        .map(|item| self.value(item).unwrap_or_default())
                        .collect(),
                )
            }
            Value::Object(fields) => {
                let fields = fields.into_iter();
                let given = |(name, value)| Some((name, self.value(value)?));
                Value::Object(fields.filter_map(given).collect())
            }
            constant => constant,
        })
    }
}
