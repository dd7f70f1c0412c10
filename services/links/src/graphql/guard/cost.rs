//! The size of a document with its fragments written out, computed without writing them out: the
//! sums of a fragment are computed once and added wherever it is used.

use std::collections::HashMap;

use async_graphql::{
    Name, Positioned,
    parser::types::{
        Directive, ExecutableDocument, FragmentDefinition, OperationDefinition, Selection,
        SelectionSet,
    },
};

/// Levels of recursion. The lexer bounds the nesting within one fragment, not that of fragments that
/// use each other.
const MAX_LEVELS: usize = 300;

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
    level: usize,
    pub(super) directives: usize,
    /// Selections visited: at most those of the document.
    pub(super) visited: u64,
}

impl<'a> Costs<'a> {
    pub(super) fn new(document: &'a ExecutableDocument) -> Self {
        let fragments = &document.fragments;
        Self {
            fragments,
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
        self.count_directives(&operation.directives);
        for variable in &operation.variable_definitions {
            self.count_directives(&variable.node.directives);
        }
        self.set(&operation.selection_set.node)
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
        self.count_directives(&fragment.node.directives);
        let cost = self.set(&fragment.node.selection_set.node)?;
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
        }
        self.level -= 1;
        Ok(sum)
    }

    fn selection(&mut self, selection: &'a Selection) -> Result<Cost, CostError> {
        self.visited += 1;
        self.count_directives(selection.directives());
        match selection {
            Selection::Field(field) => {
                let inside = self.set(&field.node.selection_set.node)?;
                let aliases = inside
                    .aliases
                    .saturating_add(field.node.alias.is_some().into());
                Ok(Cost {
                    nodes: inside.nodes,
                    depth: inside.depth.saturating_add(1),
                    aliases,
                    roots: 1,
                })
            }
            Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node),
            Selection::InlineFragment(fragment) => self.set(&fragment.node.selection_set.node),
        }
    }

    fn count_directives(&mut self, directives: &[Positioned<Directive>]) {
        self.directives += directives.len();
    }
}
