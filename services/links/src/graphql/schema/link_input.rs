//! What mutations take.

use async_graphql::{InputObject, MaybeUndefined};
use chrono::{DateTime, Utc};

use crate::domain::links::{Change, LinkChanges, NewLink};

/// A new link.
#[derive(InputObject)]
pub(super) struct CreateLinkInput {
    /// The target URL: http or https, at most 8192 bytes, without user name and password. Its host
    /// must not be that of the short URLs.
    url: String,
    /// The last path segment of the short URL: 3 to 64 letters, digits, hyphens and underscores, not
    /// a reserved word. Default: 7 or more random characters.
    slug: Option<String>,
    /// A name for the owner, 1 to 200 characters. Visitors do not see it.
    title: Option<String>,
    /// Whether the link redirects.
    #[graphql(default = true)]
    enabled: bool,
    /// The HTTP status of the redirect: 301, 302, 307 or 308. Browsers cache 301 and 308: later
    /// changes may not reach visitors, and their next clicks may not be counted.
    #[graphql(default = 302)]
    redirect_status: i32,
    /// When the link stops redirecting: in the future, at most 100 years ahead. Default: never.
    expires_at: Option<DateTime<Utc>>,
    /// How many times people can follow the link, 1 to 1000000000. Cannot be combined with 301 and
    /// 308. Default: unlimited.
    max_clicks: Option<i32>,
}

/// Changes to a link. Omitted fields keep their value; null clears an optional field.
#[derive(InputObject)]
pub(super) struct UpdateLinkInput {
    /// The new target URL, under the rules of `CreateLinkInput.url`. Not null.
    url: MaybeUndefined<String>,
    /// The new slug, under the rules of `CreateLinkInput.slug`. The old short URL stops working,
    /// and its slug stays reserved for the owner.
    /// Not null.
    slug: MaybeUndefined<String>,
    /// The new title, 1 to 200 characters. Null removes it.
    title: MaybeUndefined<String>,
    /// Whether the link redirects. Not null.
    enabled: MaybeUndefined<bool>,
    /// The HTTP status of the redirect: 301, 302, 307 or 308. Not null.
    redirect_status: MaybeUndefined<i32>,
    /// When the link stops redirecting: in the future, at most 100 years ahead. Null: never.
    expires_at: MaybeUndefined<DateTime<Utc>>,
    /// How many times people can follow the link, 1 to 1000000000. Null: unlimited. Uses that
    /// have been counted stay counted.
    max_clicks: MaybeUndefined<i32>,
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
