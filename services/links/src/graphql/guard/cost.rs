//! The size of a document with its fragments written out, computed without writing them out: the
//! sums of a fragment are computed once and added wherever it is used.

use std::collections::HashMap;

use async_graphql::{
    Name, Positioned, Variables,
    parser::types::{
        Directive, ExecutableDocument, Field, FragmentDefinition, OperationDefinition, Selection,
        SelectionSet, VariableDefinition,
    },
};
use async_graphql_value::{ConstValue, Value};

/// Levels of lists and objects in one argument or variable. A filter that the schema allows has 17.
pub(crate) const MAX_VALUE_LEVELS: usize = 20;

/// Levels of recursion. The lexer bounds the nesting within one fragment, not that of fragments that
/// use each other.
const MAX_LEVELS: usize = 300;

/// The lists of introspection are long, and no resolver of ours says so: each `__schema` and `__type`
/// is charged like this number of values of arguments.
const INTROSPECTION_INPUTS: u64 = 500;

/// Sums saturate: 64 fragments that double overflow a `u64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Fields, spreads and inline fragments.
    pub(super) nodes: u64,
    /// Levels of fields.
    pub(super) depth: u64,
    pub(super) aliases: u64,
    /// Fields at the top level.
    pub(super) roots: u64,
    /// Values of arguments, those of variables included.
    pub(super) inputs: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CostError {
    /// The fragment uses itself, directly or through others.
    FragmentCycle(String),
    TooDeep,
    ValueTooDeep,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Being computed: using it again is a cycle.
    Open,
    Done(Cost),
}

/// Computes costs and remembers those of fragments.
pub(super) struct Costs<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    states: HashMap<&'a Name, State>,
    variables: &'a VariableSizes<'a>,
    level: usize,
    pub(super) directives: usize,
    /// Selections visited: at most those of the document.
    pub(super) visited: u64,
}

impl<'a> Costs<'a> {
    pub(super) fn new(document: &'a ExecutableDocument, variables: &'a VariableSizes<'a>) -> Self {
        let fragments = &document.fragments;
        Self {
            fragments,
            variables,
            states: HashMap::new(),
            level: 0,
            directives: 0,
            visited: 0,
        }
    }

    pub(super) fn operation(
        &mut self,
        operation: &'a OperationDefinition,
    ) -> Result<Cost, CostError> {
        let directives = self.count_directives(&operation.directives)?;
        for variable in &operation.variable_definitions {
            self.count_directives(&variable.node.directives)?;
            if let Some(default) = &variable.node.default_value {
                ValueSize::of(&default.node, MAX_VALUE_LEVELS).within(0)?;
            }
        }
        let mut cost = self.set(&operation.selection_set.node)?;
        cost.inputs = cost.inputs.saturating_add(directives);
        Ok(cost)
    }

    /// Visits unused fragments too, because validation does.
    pub(super) fn unused_fragments(&mut self) -> Result<(), CostError> {
        let fragments = self.fragments;
        for name in fragments.keys() {
            self.fragment(name)?;
        }
        Ok(())
    }

    fn fragment(&mut self, name: &'a Name) -> Result<Cost, CostError> {
        match self.states.get(name) {
            Some(State::Done(cost)) => return Ok(*cost),
            Some(State::Open) => return Err(CostError::FragmentCycle(name.to_string())),
            None => {}
        }
        // Validation reports spreads of unknown fragments.
        let Some(fragment) = self.fragments.get(name) else {
            return Ok(Cost::default());
        };
        self.states.insert(name, State::Open);
        let directives = self.count_directives(&fragment.node.directives)?;
        let mut cost = self.set(&fragment.node.selection_set.node)?;
        cost.inputs = cost.inputs.saturating_add(directives);
        self.states.insert(name, State::Done(cost));
        Ok(cost)
    }

    fn set(&mut self, set: &'a SelectionSet) -> Result<Cost, CostError> {
        self.level += 1;
        if self.level > MAX_LEVELS {
            return Err(CostError::TooDeep);
        }
        let mut sum = Cost::default();
        for selection in &set.items {
            let part = self.selection(&selection.node)?;
            sum.nodes = sum.nodes.saturating_add(part.nodes).saturating_add(1);
            sum.depth = sum.depth.max(part.depth);
            sum.aliases = sum.aliases.saturating_add(part.aliases);
            sum.roots = sum.roots.saturating_add(part.roots);
            sum.inputs = sum.inputs.saturating_add(part.inputs);
        }
        self.level -= 1;
        Ok(sum)
    }

    fn selection(&mut self, selection: &'a Selection) -> Result<Cost, CostError> {
        self.visited += 1;
        let directives = self.count_directives(selection.directives())?;
        let mut cost = match selection {
            Selection::Field(field) => self.field(&field.node)?,
            Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node)?,
            Selection::InlineFragment(fragment) => self.set(&fragment.node.selection_set.node)?,
        };
        cost.inputs = cost.inputs.saturating_add(directives);
        Ok(cost)
    }

    fn field(&mut self, field: &'a Field) -> Result<Cost, CostError> {
        let inside = self.set(&field.selection_set.node)?;
        let inputs = inside
            .inputs
            .saturating_add(self.arguments(&field.arguments)?)
            .saturating_add(match field.name.node.as_str() {
                "__schema" | "__type" => INTROSPECTION_INPUTS,
                _ => 0,
            });
        Ok(Cost {
            nodes: inside.nodes,
            depth: inside.depth.saturating_add(1),
            aliases: inside.aliases.saturating_add(field.alias.is_some().into()),
            roots: 1,
            inputs,
        })
    }

    /// Returns the number of values in the arguments of the directives.
    fn count_directives(&mut self, directives: &[Positioned<Directive>]) -> Result<u64, CostError> {
        self.directives += directives.len();
        sum(directives
            .iter()
            .map(|it| self.arguments(&it.node.arguments)))
    }

    fn arguments(
        &self,
        arguments: &[(Positioned<Name>, Positioned<Value>)],
    ) -> Result<u64, CostError> {
        sum(arguments.iter().map(|(_, value)| self.size(&value.node, 0)))
    }

    /// The number of values in a value that is within `level` lists and objects.
    fn size(&self, value: &Value, level: usize) -> Result<u64, CostError> {
        if matches!(value, Value::List(_) | Value::Object(_)) && level == MAX_VALUE_LEVELS {
            return Err(CostError::ValueTooDeep);
        }
        let inside = match value {
            Value::Variable(name) => return self.variables.get(name).within(level),
            Value::List(items) => sum(items.iter().map(|item| self.size(item, level + 1)))?,
            Value::Object(fields) => sum(fields.values().map(|field| self.size(field, level + 1)))?,
            _ => 0,
        };
        Ok(inside.saturating_add(1))
    }
}

/// The size of a value.
#[derive(Clone, Copy, Debug)]
struct ValueSize {
    /// Values, itself included.
    values: u64,
    /// Levels of lists and objects.
    levels: usize,
}

impl ValueSize {
    /// Looks at one level more than `levels`, and no further.
    fn of(value: &ConstValue, levels: usize) -> Self {
        let mut size = Self {
            values: 1,
            levels: 0,
        };
        let mut add = |inside: &ConstValue| {
            let inside = match levels.checked_sub(1) {
                Some(left) => Self::of(inside, left),
                None => return,
            };
            size.values = size.values.saturating_add(inside.values);
            size.levels = size.levels.max(inside.levels);
        };
        match value {
            ConstValue::List(items) => items.iter().for_each(&mut add),
            ConstValue::Object(fields) => fields.values().for_each(&mut add),
            _ => return size,
        }
        size.levels += 1;
        size
    }

    /// The number of values, if the value may be within `level` lists and objects.
    fn within(self, level: usize) -> Result<u64, CostError> {
        if level + self.levels > MAX_VALUE_LEVELS {
            return Err(CostError::ValueTooDeep);
        }
        Ok(self.values)
    }
}

/// The size of each variable of an operation.
#[derive(Debug, Default)]
pub(super) struct VariableSizes<'a>(HashMap<&'a str, ValueSize>);

impl<'a> VariableSizes<'a> {
    pub(super) fn new(operation: &'a OperationDefinition, given: &Variables) -> Self {
        let size_of = |variable: &'a VariableDefinition| {
            let name = &variable.name.node;
            let default = variable.default_value.as_ref().map(|value| &value.node);
            let value = given.get(name).or(default).unwrap_or(&ConstValue::Null);
            (name.as_str(), ValueSize::of(value, MAX_VALUE_LEVELS))
        };
        let variables = operation.variable_definitions.iter();
        Self(variables.map(|it| size_of(&it.node)).collect())
    }

    fn get(&self, name: &str) -> ValueSize {
        let null = ValueSize {
            values: 1,
            levels: 0,
        };
        self.0.get(name).copied().unwrap_or(null)
    }
}

fn sum(mut sizes: impl Iterator<Item = Result<u64, CostError>>) -> Result<u64, CostError> {
    sizes.try_fold(0_u64, |sum, size| Ok(sum.saturating_add(size?)))
}
