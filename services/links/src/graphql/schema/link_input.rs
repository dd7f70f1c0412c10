//! What mutations take.

use async_graphql::{InputObject, MaybeUndefined};
use chrono::{DateTime, Utc};
use quartet_common::{
    checks::Checks,
    problem::{Problem, Rule},
};

use super::parsed::{Parsed, Readable, all_unreadable};
use crate::domain::links::{Change, LinkChanges, NewLink};

const REDIRECT_STATUS: &str = "/input/redirectStatus";
const EXPIRES_AT: &str = "/input/expiresAt";
const MAX_CLICKS: &str = "/input/maxClicks";

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
    redirect_status: Parsed<i32>,
    /// When the link stops redirecting: in the future, at most 100 years ahead. Default: never.
    expires_at: Option<Parsed<DateTime<Utc>>>,
    /// How many times people can follow the link, 1 to 1000000000. Cannot be combined with 301 and
    /// 308. Default: unlimited.
    max_clicks: Option<Parsed<i32>>,
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
    redirect_status: MaybeUndefined<Parsed<i32>>,
    /// When the link stops redirecting: in the future, at most 100 years ahead. Null: never.
    expires_at: MaybeUndefined<Parsed<DateTime<Utc>>>,
    /// How many times people can follow the link, 1 to 1000000000. Null: unlimited. Uses that
    /// have been counted stay counted.
    max_clicks: MaybeUndefined<Parsed<i32>>,
}

impl CreateLinkInput {
    /// # Errors
    /// `BAD_USER_INPUT` with every field whose value is not of its type.
    pub(super) fn read(self) -> Result<NewLink, Problem> {
        let mut checks = Checks::new();
        let redirect_status = checks.take(REDIRECT_STATUS, self.redirect_status.read());
        let expires_at = checks.take_optional(EXPIRES_AT, self.expires_at.map(Parsed::read));
        let max_clicks = checks.take_optional(MAX_CLICKS, self.max_clicks.map(Parsed::read));
        let link = checks.finish(|| {
            Some(NewLink {
                url: self.url,
                slug: self.slug,
                title: self.title,
                enabled: Some(self.enabled),
                redirect_status: Some(redirect_status?),
                expires_at,
                max_clicks,
            })
        });
        link.map_err(all_unreadable)
    }
}

impl UpdateLinkInput {
    /// # Errors
    /// `BAD_USER_INPUT` with every field whose value is not of its type.
    pub(super) fn read(self) -> Result<LinkChanges, Problem> {
        let mut checks = Checks::new();
        let redirect_status = checks.take(REDIRECT_STATUS, read(self.redirect_status));
        let expires_at = checks.take(EXPIRES_AT, read(self.expires_at));
        let max_clicks = checks.take(MAX_CLICKS, read(self.max_clicks));
        let changes = checks.finish(|| {
            Some(LinkChanges {
                url: change(self.url),
                slug: change(self.slug),
                title: change(self.title),
                enabled: change(self.enabled),
                redirect_status: redirect_status?,
                expires_at: expires_at?,
                max_clicks: max_clicks?,
            })
        });
        changes.map_err(all_unreadable)
    }
}

fn read<T: Readable>(value: MaybeUndefined<Parsed<T>>) -> Result<Change<T>, Rule> {
    Ok(match change(value) {
        Change::Keep => Change::Keep,
        Change::Clear => Change::Clear,
        Change::Set(value) => Change::Set(value.read()?),
    })
}

fn change<T>(value: MaybeUndefined<T>) -> Change<T> {
    match value {
        MaybeUndefined::Undefined => Change::Keep,
        MaybeUndefined::Null => Change::Clear,
        MaybeUndefined::Value(value) => Change::Set(value),
    }
}
