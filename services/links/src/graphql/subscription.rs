//! Watching.

use async_graphql::{Context, Enum, ID, Result, SimpleObject, Subscription as GraphQlSubscription};
use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt, stream};

use super::{Viewer, error::graphql};
use crate::{
    domain::{
        feeds::Feeds,
        links::{self, Links},
        visits,
    },
    error::Error,
    store::{self, clicks::WatchedRow},
};

/// The root of subscriptions.
pub(crate) struct Subscription;

/// One click, and the counts after the batch in which it was written.
#[derive(Clone, SimpleObject)]
pub(super) struct ClickEvent {
    id: ID,
    at: DateTime<Utc>,
    /// Two letters, where the deployment knows it and the visitor did not ask to be left alone.
    country: Option<String>,
    /// Host of the page on which the link was followed.
    referrer_host: Option<String>,
    device: Device,
    /// Whether this was not a person.
    bot: bool,
    /// Why it was not a person.
    bot_reason: Option<BotReason>,
    /// The link's counts, this click included.
    totals: ClickTotals,
}

/// Running counts of a link.
#[derive(Clone, SimpleObject)]
pub(super) struct ClickTotals {
    /// People and bots.
    total: i64,
    people: i64,
    /// Different people, day by day.
    unique: i64,
    bots: i64,
}

/// What kind of machine asked, by its user agent.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "crate::domain::visits::Device")]
pub(super) enum Device {
    Desktop,
    Mobile,
    Tablet,
    Other,
}

/// Why a visit is not a person's.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "crate::domain::visits::BotReason")]
pub(super) enum BotReason {
    /// The user agent belongs to a crawler, a preview, a monitor or a program.
    Crawler,
    /// No user agent was sent.
    NoUserAgent,
    /// A HEAD request.
    Head,
    /// A browser fetched the link ahead of time.
    Prefetch,
}

/// What is sent as it happens.
#[GraphQlSubscription]
impl Subscription {
    /// Every click on a link from now on, whichever replica takes it. Ends when the link is
    /// deleted. Of more than 500 clicks at once the newest are shown; the counts hold all.
    async fn clicks(
        &self,
        ctx: &Context<'_>,
        link_id: ID,
    ) -> Result<impl Stream<Item = ClickEvent> + use<>> {
        let links = ctx.data::<Links>()?.clone();
        let owner = ctx.data::<Viewer>()?.subject.clone();
        let id = links::parse_id(&link_id, "/linkId")
            .map_err(graphql)?
            .uuid();
        let now = links.clock.now();
        let start = async move {
            let mut tx = store::begin_as(&links.pool, &owner).await?;
            let batch = store::clicks::last_batch(&mut tx, &owner, id).await?;
            tx.commit().await?;
            batch.ok_or(Error::LinkNotFound)
        };
        let (watch, seen) = ctx
            .data::<Feeds>()?
            .watch(id, start, now)
            .await
            .map_err(graphql)?;
        let batches = stream::unfold(watch, |mut watch| async move {
            watch.next().await.map(|rows| (rows, watch))
        });
        Ok(batches.flat_map(move |rows| {
            let fresh = rows
                .iter()
                .filter(|row| row.batch > seen)
                .map(ClickEvent::from);
            stream::iter(fresh.collect::<Vec<_>>())
        }))
    }
}

impl From<&WatchedRow> for ClickEvent {
    fn from(row: &WatchedRow) -> Self {
        let reason = row.bot.as_deref().map(visits::BotReason::from_stored);
        Self {
            id: links::click_id(row.id).into(),
            at: row.at,
            country: row.country.clone(),
            referrer_host: row.referrer_host.clone(),
            device: visits::Device::from_stored(&row.device).into(),
            bot: reason.is_some(),
            bot_reason: reason.map(Into::into),
            totals: ClickTotals {
                total: row.people + row.bots,
                people: row.people,
                unique: row.uniques,
                bots: row.bots,
            },
        }
    }
}
