//! Writing.

use async_graphql::{Context, ID, Object, Result};

use super::{
    Viewer,
    error::graphql,
    input::{CreateLinkInput, DeletedLink, UpdateLinkInput},
    link::Link,
};
use crate::domain::links::{self, Links};

/// The root of mutations.
pub(crate) struct Mutation;

/// Each field is one transaction: it is done wholly or not at all.
#[Object]
impl Mutation {
    /// Makes a link.
    async fn create_link(&self, ctx: &Context<'_>, input: CreateLinkInput) -> Result<Link> {
        let (links, owner) = (ctx.data::<Links>()?, &ctx.data::<Viewer>()?.subject);
        let row = links.create(owner, input.into()).await.map_err(graphql)?;
        Ok(Link { row })
    }

    /// Changes a link. Visitors see the change at once, on every replica.
    async fn update_link(&self, ctx: &Context<'_>, id: ID, input: UpdateLinkInput) -> Result<Link> {
        let (links, owner) = (ctx.data::<Links>()?, &ctx.data::<Viewer>()?.subject);
        let id = links::parse_id(&id, "/id").map_err(graphql)?;
        let row = links
            .update(owner, id, input.into())
            .await
            .map_err(graphql)?;
        Ok(Link { row })
    }

    /// Deletes a link with its counts and clicks. Its slug is free again.
    async fn delete_link(&self, ctx: &Context<'_>, id: ID) -> Result<DeletedLink> {
        let (links, owner) = (ctx.data::<Links>()?, &ctx.data::<Viewer>()?.subject);
        let parsed = links::parse_id(&id, "/id").map_err(graphql)?;
        links.delete(owner, parsed).await.map_err(graphql)?;
        Ok(DeletedLink { id })
    }
}
