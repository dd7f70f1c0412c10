//! A link as its owner sees it.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object, Result};
use chrono::{DateTime, Utc};

use super::clicks::Clicks;
use crate::{
    config::Config,
    domain::links::{self, LinkStatus, Links},
    store::links::LinkRow,
};

/// A short link.
pub(super) struct Link {
    pub(super) row: LinkRow,
}

/// Whether a link leads somewhere just now.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "LinkStatus")]
pub(super) enum Status {
    /// It redirects.
    Active,
    /// It was switched off.
    Disabled,
    /// Its time is over.
    Expired,
    /// All of its uses are taken.
    Exhausted,
}

/// A short link.
#[Object]
impl Link {
    async fn id(&self) -> ID {
        links::link_id(self.row.id).into()
    }

    /// What the short address ends in.
    async fn slug(&self) -> &str {
        &self.row.slug
    }

    /// The address to give away.
    #[expect(clippy::unused_async, reason = "resolvers are asynchronous")]
    async fn short_url(&self, ctx: &Context<'_>) -> Result<String> {
        let config = ctx.data::<Arc<Config>>()?;
        Ok(format!("{}{}", config.public.short_url, self.row.slug))
    }

    /// Where the link leads.
    async fn url(&self) -> &str {
        &self.row.url
    }

    async fn title(&self) -> Option<&str> {
        self.row.title.as_deref()
    }

    /// Whether the link is switched on.
    async fn enabled(&self) -> bool {
        self.row.enabled
    }

    /// 301, 302, 307 or 308.
    async fn redirect_status(&self) -> i16 {
        self.row.redirect_status
    }

    async fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.row.expires_at
    }

    /// How many people the link lets through; null: any number.
    async fn max_clicks(&self) -> Option<i32> {
        self.row.max_clicks
    }

    /// How many of `maxClicks` are taken. Only counted while there is a maximum.
    async fn uses(&self) -> i32 {
        self.row.uses
    }

    #[expect(clippy::unused_async, reason = "resolvers are asynchronous")]
    async fn status(&self, ctx: &Context<'_>) -> Result<Status> {
        let now = ctx.data::<Links>()?.clock.now();
        Ok(match self.row.status(now) {
            LinkStatus::Active => Status::Active,
            LinkStatus::Disabled => Status::Disabled,
            LinkStatus::Expired => Status::Expired,
            LinkStatus::Exhausted => Status::Exhausted,
        })
    }

    async fn created_at(&self) -> DateTime<Utc> {
        self.row.created_at
    }

    async fn updated_at(&self) -> DateTime<Utc> {
        self.row.updated_at
    }

    /// Who came. Counts lag behind the redirects by less than a second.
    async fn clicks(&self) -> Clicks {
        Clicks {
            row: self.row.clone(),
        }
    }
}
