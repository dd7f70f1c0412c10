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
    variables: &'a Sizes<'a>,
    level: usize,
    pub(super) directives: usize,
    /// Selections visited: at most those of the document.
    pub(super) visited: u64,
}

impl<'a> Costs<'a> {
    pub(super) fn new(document: &'a ExecutableDocument, variables: &'a Sizes<'a>) -> Self {
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
        let directives = self.count_directives(&operation.directives);
        for variable in &operation.variable_definitions {
            self.count_directives(&variable.node.directives);
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
        let directives = self.count_directives(&fragment.node.directives);
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
        let directives = self.count_directives(selection.directives());
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
            .saturating_add(self.arguments(&field.arguments))
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
    fn count_directives(&mut self, directives: &[Positioned<Directive>]) -> u64 {
        self.directives += directives.len();
        let arguments = directives
            .iter()
            .map(|it| self.arguments(&it.node.arguments));
        arguments.fold(0, u64::saturating_add)
    }

    fn arguments(&self, arguments: &[(Positioned<Name>, Positioned<Value>)]) -> u64 {
        let sizes = arguments.iter().map(|(_, value)| self.size(&value.node));
        sizes.fold(0, u64::saturating_add)
    }

    fn size(&self, value: &Value) -> u64 {
        let inside = match value {
            Value::Variable(name) => return self.variables.get(name),
            Value::List(items) => sum(items.iter().map(|item| self.size(item))),
            Value::Object(fields) => sum(fields.values().map(|field| self.size(field))),
            _ => 0,
        };
        inside.saturating_add(1)
    }
}

/// The number of values in each variable of an operation.
#[derive(Debug, Default)]
pub(super) struct Sizes<'a>(HashMap<&'a str, u64>);

impl<'a> Sizes<'a> {
    pub(super) fn new(operation: &'a OperationDefinition, given: &Variables) -> Self {
        let size_of = |variable: &'a VariableDefinition| {
            let name = &variable.name.node;
            let default = variable.default_value.as_ref().map(|value| &value.node);
            (name.as_str(), given.get(name).or(default).map_or(1, size))
        };
        let variables = operation.variable_definitions.iter();
        Self(variables.map(|it| size_of(&it.node)).collect())
    }

    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(1)
    }
}

/// The number of values in a value, itself included.
fn size(value: &ConstValue) -> u64 {
    let inside = match value {
        ConstValue::List(items) => sum(items.iter().map(size)),
        ConstValue::Object(fields) => sum(fields.values().map(size)),
        _ => 0,
    };
    inside.saturating_add(1)
}

fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}
