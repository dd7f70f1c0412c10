//! The input of link operations, and the rules that it must follow.

use chrono::{DateTime, Duration, SubsecRound, Utc};
use quartet_common::{checks::Checks, problem::Rule, text as characters};

use super::values::{
    domains,
    slugs::Slug,
    targets::{OwnHosts, Target},
};
use crate::{
    error::{Error, Field},
    store::links::{LinkId, LinkRow},
};

const MAX_TITLE_CHARS: usize = 200;
const MAX_MAX_CLICKS: i32 = 1_000_000_000;
const REDIRECT_STATUSES: [i16; 4] = [301, 302, 307, 308];
const MAX_LIFETIME: Duration = Duration::days(100 * 365);

/// A link to create.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewLink {
    pub(crate) url: String,
    pub(crate) slug: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) enabled: Option<bool>,
    pub(crate) redirect_status: Option<i32>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) max_clicks: Option<i32>,
}

/// A change of one column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Change<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

/// The changes of one link.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkChanges {
    pub(crate) url: Change<String>,
    pub(crate) slug: Change<String>,
    pub(crate) title: Change<String>,
    pub(crate) enabled: Change<bool>,
    pub(crate) redirect_status: Change<i32>,
    pub(crate) expires_at: Change<DateTime<Utc>>,
    pub(crate) max_clicks: Change<i32>,
}

/// A new link that follows every rule.
pub(super) struct ValidLink {
    pub(super) slug: Option<Slug>,
    url: Target,
    title: Option<String>,
    enabled: bool,
    redirect_status: i16,
    expires_at: Option<DateTime<Utc>>,
    max_clicks: Option<i32>,
}

impl NewLink {
    /// # Errors
    /// `Invalid` with every invalid field.
    pub(super) fn validate(
        self,
        own_hosts: &OwnHosts,
        now: DateTime<Utc>,
    ) -> Result<ValidLink, Error> {
        let mut checks = Checks::default();
        let url = checks.take(Field::Url, Target::parse(&self.url, own_hosts));
        let slug = checks.take_optional(Field::Slug, self.slug.as_deref().map(Slug::chosen));
        let title = checks.take_optional(Field::Title, self.title.map(title));
        let status = redirect_status(self.redirect_status.unwrap_or(302));
        let redirect_status = checks.take(Field::RedirectStatus, status);
        let expires_at = self.expires_at.map(|at| expiry(at, now));
        let expires_at = checks.take_optional(Field::ExpiresAt, expires_at);
        let max_clicks = checks.take_optional(Field::MaxClicks, self.max_clicks.map(max_clicks));
        let limit = limitable(redirect_status, max_clicks);
        checks.take(Field::MaxClicks, limit);
        Ok(checks.finish(|| {
            Some(ValidLink {
                slug,
                url: url?,
                title,
                enabled: self.enabled.unwrap_or(true),
                redirect_status: redirect_status?,
                expires_at,
                max_clicks,
            })
        })?)
    }
}

impl ValidLink {
    /// The link without its slug, which is chosen when the row is inserted.
    pub(super) fn into_row(self, id: LinkId, now: DateTime<Utc>) -> LinkRow {
        LinkRow {
            id,
            domain_id: domains::DEFAULT.into(),
            domain_host: None,
            slug: String::new(),
            url: self.url.into(),
            title: self.title,
            enabled: self.enabled,
            redirect_status: self.redirect_status,
            expires_at: self.expires_at,
            max_clicks: self.max_clicks,
            uses: 0,
            created_at: now,
            updated_at: now,
            people: 0,
            uniques: 0,
            bots: 0,
            last_click_at: None,
        }
    }
}

impl LinkChanges {
    /// # Errors
    /// `Invalid` with every invalid field.
    pub(super) fn apply(
        self,
        old: LinkRow,
        own_hosts: &OwnHosts,
        now: DateTime<Utc>,
    ) -> Result<LinkRow, Error> {
        let mut checks = Checks::default();
        let target = |text: String| Target::parse(&text, own_hosts).map(String::from);
        let slug = |text: String| Slug::chosen(&text).map(String::from);
        let at = |at| expiry(at, now);
        let url = checks.take(Field::Url, self.url.required(old.url, target));
        let slug = checks.take(Field::Slug, self.slug.required(old.slug, slug));
        let enabled = checks.take(Field::Enabled, self.enabled.required(old.enabled, Ok));
        let status = self.redirect_status;
        let status = status.required(old.redirect_status, redirect_status);
        let redirect_status = checks.take(Field::RedirectStatus, status);
        let title = checks.take(Field::Title, self.title.optional(old.title, title));
        let expires_at = self.expires_at.optional(old.expires_at, at);
        let expires_at = checks.take(Field::ExpiresAt, expires_at);
        let max_clicks = self.max_clicks.optional(old.max_clicks, max_clicks);
        let max_clicks = checks.take(Field::MaxClicks, max_clicks);
        let limit = limitable(redirect_status, max_clicks.flatten());
        checks.take(Field::MaxClicks, limit);
        Ok(checks.finish(|| {
            Some(LinkRow {
                url: url?,
                slug: slug?,
                enabled: enabled?,
                redirect_status: redirect_status?,
                title: title?,
                expires_at: expires_at?,
                max_clicks: max_clicks?,
                ..old
            })
        })?)
    }
}

impl<I> Change<I> {
    /// The new value of a column that cannot be null.
    fn required<T>(self, old: T, parse: impl FnOnce(I) -> Result<T, Rule>) -> Result<T, Rule> {
        match self {
            Self::Keep => Ok(old),
            Self::Clear => Err(Rule::new(
                "required",
                "must not be null; omit it to keep the current value",
            )),
            Self::Set(value) => parse(value),
        }
    }

    /// The new value of a column that can be null.
    fn optional<T>(
        self,
        old: Option<T>,
        parse: impl FnOnce(I) -> Result<T, Rule>,
    ) -> Result<Option<T>, Rule> {
        match self {
            Self::Keep => Ok(old),
            Self::Clear => Ok(None),
            Self::Set(value) => parse(value).map(Some),
        }
    }
}

fn title(text: String) -> Result<String, Rule> {
    if !characters::has_visible(&text) || text.chars().count() > MAX_TITLE_CHARS {
        let detail = format!("must have 1 to {MAX_TITLE_CHARS} characters, one of them visible");
        return Err(Rule::new("invalid_length", detail));
    }
    if text.chars().any(characters::is_control) {
        let detail = "must not contain control characters or direction marks";
        return Err(Rule::new("invalid_characters", detail));
    }
    Ok(text)
}

fn redirect_status(status: i32) -> Result<i16, Rule> {
    i16::try_from(status)
        .ok()
        .filter(|status| REDIRECT_STATUSES.contains(status))
        .ok_or_else(|| Rule::new("invalid_value", "must be 301, 302, 307 or 308"))
}

fn expiry(at: DateTime<Utc>, now: DateTime<Utc>) -> Result<DateTime<Utc>, Rule> {
    if at <= now {
        return Err(Rule::new("in_the_past", "must be in the future"));
    }
    if at > now + MAX_LIFETIME {
        return Err(Rule::new("too_late", "must be within the next 100 years"));
    }
    Ok(at.trunc_subsecs(6))
}

fn max_clicks(count: i32) -> Result<i32, Rule> {
    if (1..=MAX_MAX_CLICKS).contains(&count) {
        return Ok(count);
    }
    let detail = format!("must be between 1 and {MAX_MAX_CLICKS}");
    Err(Rule::new("out_of_range", detail))
}

/// Browsers cache permanent redirects, so their clicks cannot be limited.
fn limitable(status: Option<i16>, max_clicks: Option<i32>) -> Result<(), Rule> {
    if matches!(status, Some(301 | 308)) && max_clicks.is_some() {
        let detail = "must not be set on a permanent redirect (301, 308), which browsers cache";
        return Err(Rule::new("conflict", detail));
    }
    Ok(())
}
