//! What mutations take.

use async_graphql::{ID, InputObject, MaybeUndefined, SimpleObject};
use chrono::{DateTime, Utc};

use crate::domain::links::{Change, LinkChanges, NewLink};

/// A link to be made.
#[derive(InputObject)]
pub(super) struct CreateLinkInput {
    /// Where the link leads: http or https, at most 8192 bytes, without user name and password,
    /// and not the host of the short links.
    url: String,
    /// What the short address ends in: 3 to 64 letters, digits, dashes and underscores.
    /// Left out: seven random characters.
    slug: Option<String>,
    /// For the owner's eyes, 1 to 200 characters.
    title: Option<String>,
    /// Whether the link leads anywhere.
    #[graphql(default = true)]
    enabled: bool,
    /// 302 and 307 are asked again at every visit; 301 and 308 are remembered by browsers, so that
    /// later edits and clicks may be missed.
    #[graphql(default = 302)]
    redirect_status: i32,
    /// From this time on visitors are told that the link has expired; within 100 years.
    expires_at: Option<DateTime<Utc>>,
    /// How many people the link lets through, 1 to 1000000000. Not with 301 and 308.
    max_clicks: Option<i32>,
}

/// What is to be changed. What is left out stays; null clears a value that need not be set.
#[derive(InputObject)]
pub(super) struct UpdateLinkInput {
    /// Where the link leads.
    url: MaybeUndefined<String>,
    /// What the short address ends in. The old address leads nowhere afterwards.
    slug: MaybeUndefined<String>,
    /// For the owner's eyes; null removes it.
    title: MaybeUndefined<String>,
    /// Whether the link leads anywhere.
    enabled: MaybeUndefined<bool>,
    /// 301, 302, 307 or 308.
    redirect_status: MaybeUndefined<i32>,
    /// Null: never.
    expires_at: MaybeUndefined<DateTime<Utc>>,
    /// Null: no maximum. Uses that are taken stay taken.
    max_clicks: MaybeUndefined<i32>,
}

/// What is left of a deleted link.
#[derive(SimpleObject)]
pub(super) struct DeletedLink {
    /// The id that the link had.
    pub(super) id: ID,
}

impl From<CreateLinkInput> for NewLink {
    fn from(input: CreateLinkInput) -> Self {
        Self {
            url: input.url,
            slug: input.slug,
            title: input.title,
            enabled: Some(input.enabled),
            redirect_status: Some(input.redirect_status),
            expires_at: input.expires_at,
            max_clicks: input.max_clicks,
        }
    }
}

impl From<UpdateLinkInput> for LinkChanges {
    fn from(input: UpdateLinkInput) -> Self {
        Self {
            url: change(input.url),
            slug: change(input.slug),
            title: change(input.title),
            enabled: change(input.enabled),
            redirect_status: change(input.redirect_status),
            expires_at: change(input.expires_at),
            max_clicks: change(input.max_clicks),
        }
    }
}

fn change<T>(value: MaybeUndefined<T>) -> Change<T> {
    match value {
        MaybeUndefined::Undefined => Change::Keep,
        MaybeUndefined::Null => Change::Clear,
        MaybeUndefined::Value(value) => Change::Set(value),
    }
}
