//! The GraphQL operations that this client uses, and their variables.

use super::types::schema;
use super::types::{Click, ClickPoint, Interval, Link, LinkFilter, LinkId, LinkPatch, NewLink};

#[derive(cynic::QueryVariables, Debug)]
pub(super) struct WithInput {
    pub(super) input: NewLink,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Mutation", variables = "WithInput")]
pub(super) struct CreateLink {
    #[arguments(input: $input)]
    pub(super) create_link: Link,
}

#[derive(cynic::QueryVariables, Debug)]
pub(super) struct WithPatch {
    pub(super) id: LinkId,
    pub(super) input: LinkPatch,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Mutation", variables = "WithPatch")]
pub(super) struct UpdateLink {
    #[arguments(id: $id, input: $input)]
    pub(super) update_link: Link,
}

#[derive(cynic::QueryVariables, Debug)]
pub(super) struct ById {
    pub(super) id: LinkId,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Mutation", variables = "ById")]
pub(super) struct DeleteLink {
    #[arguments(id: $id)]
    #[expect(dead_code, reason = "its presence is the result")]
    pub(super) delete_link: DeletedLink,
}

#[derive(cynic::QueryFragment, Debug)]
#[expect(dead_code, reason = "a selection may not be empty")]
pub(super) struct DeletedLink {
    id: LinkId,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Query", variables = "ById")]
pub(super) struct LinkById {
    #[arguments(id: $id)]
    pub(super) link: Option<Link>,
}

#[derive(cynic::QueryVariables, Debug)]
pub(super) struct BySlug {
    pub(super) slug: String,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Query", variables = "BySlug")]
pub(super) struct LinkBySlug {
    #[arguments(slug: $slug)]
    pub(super) link_by_slug: Option<Link>,
}

#[derive(cynic::QueryVariables, Debug)]
pub(super) struct ListLinks {
    pub(super) first: i32,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<String>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub(super) filter: Option<LinkFilter>,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Query", variables = "ListLinks")]
pub(super) struct LinkList {
    #[arguments(first: $first, after: $after, where: $filter)]
    pub(super) links: LinkConnection,
}

#[derive(cynic::QueryFragment, Debug)]
pub(super) struct LinkConnection {
    pub(super) nodes: Vec<Link>,
    pub(super) page_info: PageInfo,
}

#[derive(cynic::QueryFragment, Debug)]
pub(super) struct PageInfo {
    pub(super) has_next_page: bool,
    pub(super) end_cursor: Option<String>,
}

#[derive(cynic::QueryVariables, Debug)]
pub(super) struct SeriesVariables {
    pub(super) id: LinkId,
    pub(super) by: Interval,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Query", variables = "SeriesVariables")]
pub(super) struct SeriesOf {
    #[arguments(id: $id)]
    pub(super) link: Option<Series>,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Link", variables = "SeriesVariables")]
pub(super) struct Series {
    pub(super) clicks: SeriesClicks,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Clicks", variables = "SeriesVariables")]
pub(super) struct SeriesClicks {
    #[arguments(by: $by)]
    pub(super) series: Vec<ClickPoint>,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Subscription", variables = "ById")]
pub(super) struct ClicksOf {
    #[arguments(linkId: $id)]
    pub(super) clicks: Click,
}
