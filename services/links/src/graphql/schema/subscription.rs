//! Subscriptions.

use async_graphql::{Context, Enum, ID, SimpleObject, Subscription as GraphQlSubscription};
use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt, stream};

use super::{
    link::link_id,
    scope::{connection, scope},
    turns::{Turn, Turns},
};
use crate::{
    domain::{links, values::visitor},
    graphql::error::Result,
    store::clicks::WatchedRow,
};

/// The root of subscriptions.
pub(crate) struct Subscription;

/// One click, with the counts of its link after it.
#[derive(SimpleObject)]
pub(super) struct ClickEvent {
    /// `clk_` and 26 characters.
    id: ID,
    /// When the link was followed.
    at: DateTime<Utc>,
    /// The visitor's country, two letters (ISO 3166-1). Null if the deployment does not know it or
    /// the visitor asks not to be tracked.
    country: Option<String>,
    /// The host of the page on which the link was followed. Null if the browser does not send it.
    referrer_host: Option<String>,
    /// The visitor's kind of device.
    device: Device,
    /// Whether the visitor was a bot.
    bot: bool,
    /// Why the visitor counts as a bot. Null for people.
    bot_reason: Option<BotReason>,
    /// The counts of the link after the batch of clicks that includes this one.
    totals: ClickTotals,
    /// Ends when this event has been executed.
    #[graphql(skip)]
    _turn: Turn,
}

/// Running counts of a link.
#[derive(Clone, SimpleObject)]
pub(super) struct ClickTotals {
    /// Clicks of people and bots.
    total: i64,
    /// Clicks of people.
    people: i64,
    /// Different people, each counted once per UTC day.
    unique: i64,
    /// Clicks of bots.
    bots: i64,
}

/// A kind of device, derived from the `User-Agent` header.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "crate::domain::values::visitor::Device")]
pub(super) enum Device {
    Desktop,
    Mobile,
    Tablet,
    /// Anything else, or unknown.
    Other,
}

/// Why a visitor counts as a bot.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "crate::domain::values::visitor::BotReason")]
pub(super) enum BotReason {
    /// The `User-Agent` header names a crawler, a link preview, a monitor or an HTTP library.
    Crawler,
    /// There was no `User-Agent` header.
    NoUserAgent,
    /// The request had the method HEAD.
    Head,
    /// A browser prefetched the link.
    Prefetch,
}

/// Events as they happen.
#[GraphQlSubscription]
impl Subscription {
    /// The clicks on a link from now on, on any replica, once they are stored: usually within a
    /// second. Completes when the link is deleted. Of a batch with more than 500 clicks only the
    /// newest 500 are sent; `totals` counts all. Fails with `NOT_FOUND` if the caller has no such
    /// link.
    async fn clicks(
        &self,
        ctx: &Context<'_>,
        link_id: ID,
    ) -> Result<impl Stream<Item = ClickEvent> + use<>> {
        let (context, actor) = scope(ctx)?;
        let id = self::link_id(&link_id, "/linkId")?;
        let connection = connection(ctx).await?;
        let watch = links::watch(context, actor, id).await?;
        drop(connection);
        let batches = stream::unfold(watch, |mut watch| async move {
            watch.next().await.map(|rows| (rows, watch))
        });
        let turns = ctx.data::<Turns>()?.clone();
        Ok(batches.flat_map(stream::iter).then(move |row| {
            let turns = turns.clone();
            async move { ClickEvent::new(row, turns.next().await) }
        }))
    }
}

impl ClickEvent {
    fn new(row: WatchedRow, turn: Turn) -> Self {
        let reason = row.bot.as_deref().map(visitor::BotReason::from_stored);
        Self {
            id: row.id.to_string().into(),
            at: row.at,
            country: row.country,
            referrer_host: row.referrer_host,
            device: visitor::Device::from_stored(&row.device).into(),
            bot: reason.is_some(),
            bot_reason: reason.map(Into::into),
            totals: ClickTotals {
                total: row.people + row.bots,
                people: row.people,
                unique: row.uniques,
                bots: row.bots,
            },
            _turn: turn,
        }
    }
}
