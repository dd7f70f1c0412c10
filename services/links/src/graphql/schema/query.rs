//! Queries.

use async_graphql::{Context, ID, Object};

use super::{
    link::{Link, link_id},
    list::{LinkConnection, LinkFilter, LinkOrder, PageArguments, max_rows, order, search_cost},
    parsed::{Parsed, argument},
    scope::{connection, scope},
};
use crate::{
    domain::{links, values::slugs::Slug},
    graphql::error::{Result, invalid_argument},
};

/// The cost of a field that needs a statement of its own.
pub(super) const STATEMENT_COST: usize = 10;

/// The root of queries.
pub(crate) struct Query;

/// Queries see the links of the caller only.
#[Object]
impl Query {
    /// A link by its id. Null if the caller has no such link.
    #[graphql(complexity = "STATEMENT_COST + child_complexity")]
    async fn link(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`lnk_` and 26 characters.")] id: ID,
    ) -> Result<Option<Link>> {
        let (context, actor) = scope(ctx)?;
        let _connection = connection(ctx).await?;
        let row = links::by_id(context, actor, link_id(&id, "/id")?).await?;
        Ok(row.map(Link))
    }

    /// A link by its slug. Null if the caller has no such link.
    #[graphql(complexity = "STATEMENT_COST + child_complexity")]
    async fn link_by_slug(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "3 to 64 letters, digits, hyphens and underscores. Case matters.")]
        slug: String,
    ) -> Result<Option<Link>> {
        let (context, actor) = scope(ctx)?;
        let slug = Slug::parse(&slug).map_err(|rule| invalid_argument("/slug", rule))?;
        let _connection = connection(ctx).await?;
        let row = links::by_slug(context, actor, &slug).await?;
        Ok(row.map(Link))
    }

    /// The links of the caller, newest first unless `orderBy` is given.
    #[graphql(
        complexity = "search_cost(filter.as_ref()) + page_rows(first, last) * child_complexity"
    )]
    #[expect(
        clippy::too_many_arguments,
        reason = "these are the arguments of the GraphQL field"
    )]
    async fn links(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "where", desc = "Only links that match. Default: all.")] filter: Option<
            LinkFilter,
        >,
        #[graphql(desc = "At most one order.")] order_by: Option<Vec<LinkOrder>>,
        #[graphql(desc = "Page size, 0 to 100. Default: 20, unless `last` is given.")]
        first: Option<Parsed<i32>>,
        #[graphql(desc = "Only links after this cursor.")] after: Option<String>,
        #[graphql(
            desc = "Page size, 0 to 100, counted from the end. Cannot be combined with `first`."
        )]
        last: Option<Parsed<i32>>,
        #[graphql(desc = "Only links before this cursor.")] before: Option<String>,
    ) -> Result<LinkConnection> {
        let (context, actor) = scope(ctx)?;
        let filter = filter.unwrap_or_default().into_filter()?;
        let order = order(order_by)?;
        let page = PageArguments {
            first: argument(first, "/first")?,
            after,
            last: argument(last, "/last")?,
            before,
        };
        let slice = page.into_slice(order)?;
        let _connection = connection(ctx).await?;
        let rows = links::list(context, actor, &filter, order, &slice).await?;
        Ok(LinkConnection::new(rows, &slice, order, filter))
    }
}

/// The number of links that a page can have; that of another page if an argument is no number, because
/// then it has none.
fn page_rows(first: Option<Parsed<i32>>, last: Option<Parsed<i32>>) -> usize {
    max_rows(first.and_then(Parsed::ok), last.and_then(Parsed::ok))
}
