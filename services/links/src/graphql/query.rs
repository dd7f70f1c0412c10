//! Reading.

use async_graphql::{Context, ID, Object, Result};

use super::{
    Viewer,
    error::graphql,
    filter::LinkFilter,
    link::Link,
    order::{self, LinkOrder},
    page::{LinkConnection, PageArguments, rows},
};
use crate::{
    domain::{
        links::{self, Links},
        slugs::Slug,
    },
    error::Error,
    store,
};

/// The root of queries.
pub(crate) struct Query;

/// Everything here is the caller's own; nobody else's links can be seen.
#[Object]
impl Query {
    /// A link by its id; null when there is none, or when it belongs to somebody else.
    async fn link(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Link>> {
        let (links, owner) = (ctx.data::<Links>()?, &ctx.data::<Viewer>()?.subject);
        let id = links::parse_id(&id, "/id").map_err(graphql)?;
        let mut tx = store::begin_as(&links.pool, owner).await.map_err(graphql)?;
        let row = store::links::by_id(&mut tx, owner, id.uuid())
            .await
            .map_err(graphql)?;
        tx.commit().await.map_err(graphql)?;
        Ok(row.map(|row| Link { row }))
    }

    /// A link by its slug; null when there is none, or when it belongs to somebody else.
    async fn link_by_slug(&self, ctx: &Context<'_>, slug: String) -> Result<Option<Link>> {
        let (links, owner) = (ctx.data::<Links>()?, &ctx.data::<Viewer>()?.subject);
        let slug = Slug::parse(&slug)
            .map_err(|rule| Error::field("/slug", rule.code, rule.detail))
            .map_err(graphql)?;
        let mut tx = store::begin_as(&links.pool, owner).await.map_err(graphql)?;
        let row = store::links::by_slug(&mut tx, owner, slug.as_str())
            .await
            .map_err(graphql)?;
        tx.commit().await.map_err(graphql)?;
        Ok(row.map(|row| Link { row }))
    }

    /// The caller's links, newest first unless `orderBy` says otherwise.
    #[graphql(complexity = "rows(first, last) * child_complexity")]
    #[expect(
        clippy::too_many_arguments,
        reason = "these are the arguments of the GraphQL field"
    )]
    async fn links(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "where")] filter: Option<LinkFilter>,
        #[graphql(desc = "At most three terms.")] order_by: Option<Vec<LinkOrder>>,
        #[graphql(desc = "How many, 0 to 100; 20 when neither this nor `last` is given.")]
        first: Option<i32>,
        #[graphql(desc = "Links behind this cursor.")] after: Option<String>,
        #[graphql(desc = "How many, counted from the end, 0 to 100. Not together with `first`.")]
        last: Option<i32>,
        #[graphql(desc = "Links before this cursor.")] before: Option<String>,
    ) -> Result<LinkConnection> {
        let (links, owner) = (ctx.data::<Links>()?, &ctx.data::<Viewer>()?.subject);
        let filter = filter.unwrap_or_default().into_filter().map_err(graphql)?;
        let terms = order::terms(order_by).map_err(graphql)?;
        let wanted = PageArguments {
            first,
            after,
            last,
            before,
        }
        .check(&terms)
        .map_err(graphql)?;
        let mut tx = store::begin_as(&links.pool, owner).await.map_err(graphql)?;
        let rows = store::link_lists::list(&mut tx, owner, &filter, &terms, &wanted.stretch)
            .await
            .map_err(graphql)?;
        tx.commit().await.map_err(graphql)?;
        Ok(LinkConnection::new(rows, &wanted, terms, filter))
    }
}
