//! What a document would cost if its fragments were written out, computed without doing so.

use std::collections::HashMap;

use async_graphql::{
    Name, Positioned,
    parser::types::{
        Directive, ExecutableDocument, FragmentDefinition, OperationDefinition, Selection,
        SelectionSet,
    },
};

/// Fragments that use each other nest the computation; more is refused.
const MAX_LEVELS: usize = 300;

/// Sums saturate: a document can ask for more than a number holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Fields and spreads.
    pub(super) nodes: u64,
    /// Fields within fields.
    pub(super) depth: u64,
    pub(super) aliases: u64,
    /// Fields at the top.
    pub(super) roots: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A fragment that uses itself.
    Cycle(String),
    Levels,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Open,
    Done(Cost),
}

/// Computes costs; each fragment's is computed once.
pub(super) struct Costs<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    states: HashMap<&'a Name, State>,
    level: usize,
    pub(super) directives: usize,
    /// Selections looked at: never more than the document has.
    pub(super) work: u64,
}

impl<'a> Costs<'a> {
    pub(super) fn new(document: &'a ExecutableDocument) -> Self {
        let fragments = &document.fragments;
        Self {
            fragments,
            states: HashMap::new(),
            level: 0,
            directives: 0,
            work: 0,
        }
    }

    pub(super) fn operation(&mut self, operation: &'a OperationDefinition) -> Result<Cost, Fault> {
        self.note_directives(&operation.directives);
        for variable in &operation.variable_definitions {
            self.note_directives(&variable.node.directives);
        }
        self.set(&operation.selection_set.node)
    }

    /// Fragments that nothing uses are looked at too: validation visits them.
    pub(super) fn unused_fragments(&mut self) -> Result<(), Fault> {
        let fragments = self.fragments;
        for name in fragments.keys() {
            self.fragment(name)?;
        }
        Ok(())
    }

    fn fragment(&mut self, name: &'a Name) -> Result<Cost, Fault> {
        match self.states.get(name) {
            Some(State::Done(cost)) => return Ok(*cost),
            Some(State::Open) => return Err(Fault::Cycle(name.to_string())),
            None => {}
        }
        // Validation names the spreads of fragments that do not exist.
        let Some(fragment) = self.fragments.get(name) else {
            return Ok(Cost::default());
        };
        self.states.insert(name, State::Open);
        self.note_directives(&fragment.node.directives);
        let cost = self.set(&fragment.node.selection_set.node)?;
        self.states.insert(name, State::Done(cost));
        Ok(cost)
    }

    fn set(&mut self, set: &'a SelectionSet) -> Result<Cost, Fault> {
        self.level += 1;
        if self.level > MAX_LEVELS {
            return Err(Fault::Levels);
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

    fn selection(&mut self, selection: &'a Selection) -> Result<Cost, Fault> {
        self.work += 1;
        self.note_directives(selection.directives());
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

    fn note_directives(&mut self, directives: &[Positioned<Directive>]) {
        self.directives += directives.len();
    }
}
