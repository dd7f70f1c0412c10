//! The subcommands of this service beside the shared ones.

use clap::Subcommand;
use quartet_common::cli::print;

use crate::graphql;

// A doc comment would become the text of --help.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the GraphQL schema.
    GraphqlSchema,
}

impl Command {
    /// # Errors
    /// When the text cannot be written.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::GraphqlSchema => print(graphql::sdl()),
        }
    }
}
