//! A link as its owner sees it.

use async_graphql::{Context, Enum, ID, Object, SimpleObject};
use chrono::{DateTime, Utc};
use quartet_common::problem::{Problem, Rule};

use super::{clicks::Clicks, scope::scope};
use crate::{
    graphql::error::{Result, invalid_argument},
    store::links::{LinkId, LinkRow},
};

pub(super) struct Link(pub(super) LinkRow);

/// Whether a link redirects.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "crate::domain::links::LinkStatus")]
pub(super) enum LinkStatus {
    /// The link redirects.
    Active,
    /// `enabled` is false. Visitors get 410.
    Disabled,
    /// `expiresAt` has passed. Visitors get 410.
    Expired,
    /// People have followed the link `maxClicks` times. Visitors get 410.
    Exhausted,
}

/// A link that was deleted.
#[derive(SimpleObject)]
pub(super) struct DeletedLink {
    /// The id of the deleted link.
    pub(super) id: ID,
}

/// A short URL and its target URL.
#[Object]
impl Link {
    /// `lnk_` and 26 characters. Never changes.
    async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// The last path segment of the short URL. Unique in its domain.
    async fn slug(&self) -> &str {
        &self.0.slug
    }

    /// The URL to publish.
    #[expect(clippy::unused_async, reason = "resolvers are asynchronous")]
    async fn short_url(&self, ctx: &Context<'_>) -> Result<String> {
        let (context, _) = scope(ctx)?;
        Ok(context
            .config
            .public
            .short_url_of(&self.0.slug, self.0.domain_host.as_deref()))
    }

    /// The target URL: where the link redirects to, in normal form.
    async fn url(&self) -> &str {
        &self.0.url
    }

    /// A name for the owner, 1 to 200 characters. Visitors do not see it.
    async fn title(&self) -> Option<&str> {
        self.0.title.as_deref()
    }

    /// Whether the owner has enabled the link.
    async fn enabled(&self) -> bool {
        self.0.enabled
    }

    /// The HTTP status of the redirect: 301, 302, 307 or 308.
    async fn redirect_status(&self) -> i16 {
        self.0.redirect_status
    }

    /// When the link stops redirecting. Null: never.
    async fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.expires_at
    }

    /// How many times people can follow the link. Null: unlimited.
    async fn max_clicks(&self) -> Option<i32> {
        self.0.max_clicks
    }

    /// How many of `maxClicks` are used. Counted only while `maxClicks` is set.
    async fn uses(&self) -> i32 {
        self.0.uses
    }

    /// Whether the link redirects now.
    #[expect(clippy::unused_async, reason = "resolvers are asynchronous")]
    async fn status(&self, ctx: &Context<'_>) -> Result<LinkStatus> {
        let (context, _) = scope(ctx)?;
        Ok(self.0.status(context.clock.now()).into())
    }

    /// When the link was created.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When the link was last changed by its owner. Clicks do not count as changes.
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }

    /// The clicks on the link. Counts usually lag behind redirects by less than a second.
    async fn clicks(&self) -> Clicks {
        Clicks(self.0.clone())
    }
}

/// The id in an argument.
pub(super) fn link_id(text: &str, pointer: &str) -> Result<LinkId, Problem> {
    text.parse()
        .map_err(|error: quartet_common::ids::InvalidId| {
            invalid_argument(pointer, Rule::new("invalid_id", error.to_string()))
        })
}
