//! Mutations.

use async_graphql::{Context, ID, Object};

use super::{
    link::{DeletedLink, Link, link_id},
    link_input::{CreateLinkInput, UpdateLinkInput},
    scope::{connection, scope},
};
use crate::{domain::links, graphql::error::Result};

/// The cost of a transaction that writes.
const WRITE_COST: usize = 50;

/// The root of mutations.
pub(crate) struct Mutation;

/// Each field is a transaction of its own. A field that fails changes nothing; the fields before
/// it keep their effect.
#[Object]
impl Mutation {
    /// Creates a link. Fails with `INVALID_INPUT`, which names every field that breaks a rule, or
    /// `SLUG_TAKEN`.
    #[graphql(complexity = "WRITE_COST + child_complexity")]
    async fn create_link(&self, ctx: &Context<'_>, input: CreateLinkInput) -> Result<Link> {
        let (context, actor) = scope(ctx)?;
        let _connection = connection(ctx).await?;
        Ok(Link(links::create(context, actor, input.read()?).await?))
    }

    /// Changes a link. Every replica redirects by the new values as soon as it is notified, usually
    /// within milliseconds. Fails with `NOT_FOUND`, `INVALID_INPUT` or `SLUG_TAKEN`.
    #[graphql(complexity = "WRITE_COST + child_complexity")]
    async fn update_link(&self, ctx: &Context<'_>, id: ID, input: UpdateLinkInput) -> Result<Link> {
        let (context, actor) = scope(ctx)?;
        let id = link_id(&id, "/id")?;
        let _connection = connection(ctx).await?;
        Ok(Link(
            links::update(context, actor, id, input.read()?).await?,
        ))
    }

    /// Deletes a link with its counts and clicks. Its slug stays reserved for its owner, for 90 days by
    /// default. Fails with `NOT_FOUND`.
    #[graphql(complexity = "WRITE_COST + child_complexity")]
    async fn delete_link(&self, ctx: &Context<'_>, id: ID) -> Result<DeletedLink> {
        let (context, actor) = scope(ctx)?;
        let link = link_id(&id, "/id")?;
        let _connection = connection(ctx).await?;
        links::delete(context, actor, link).await?;
        Ok(DeletedLink { id })
    }
}
