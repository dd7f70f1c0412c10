//! The types of the GraphQL schema. cynic checks every field against the schema at compile time.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::patch::Patch;

#[allow(unreachable_pub, reason = "the macro writes it")]
#[cynic::schema("links")]
pub(super) mod schema {}

cynic::impl_scalar!(DateTime<Utc>, schema::DateTime);

impl<T, S> cynic::schema::IsScalar<S> for Patch<T>
where
    T: cynic::schema::IsScalar<S>,
{
    type SchemaType = T::SchemaType;
}

/// The id of a link.
#[derive(cynic::Scalar, Clone, Debug, PartialEq, Eq, Hash)]
#[cynic(graphql_type = "ID")]
pub struct LinkId(pub String);

/// A short link.
#[derive(cynic::QueryFragment, Clone, Debug, Serialize)]
pub struct Link {
    pub id: LinkId,
    /// The last path segment of the short URL.
    pub slug: String,
    pub short_url: String,
    /// The target URL.
    pub url: String,
    pub title: Option<String>,
    pub status: LinkStatus,
    pub enabled: bool,
    /// 301, 302, 307 or 308.
    pub redirect_status: i32,
    pub expires_at: Option<DateTime<Utc>>,
    /// The maximum number of redirects; `None` for no limit.
    pub max_clicks: Option<i32>,
    /// How many of `max_clicks` are used.
    pub uses: i32,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub clicks: ClickCounts,
}

/// The clicks of a link. Counts lag by less than a second.
#[derive(cynic::QueryFragment, Clone, Debug, Serialize)]
#[cynic(graphql_type = "Clicks")]
pub struct ClickCounts {
    /// Clicks of people and bots.
    pub total: i32,
    pub people: i32,
    pub bots: i32,
    /// Visitors, each counted once per day.
    pub unique: i32,
    pub last_at: Option<DateTime<Utc>>,
}

/// Whether a link redirects.
#[derive(cynic::Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkStatus {
    Active,
    Disabled,
    Exhausted,
    Expired,
    /// A value that this version of the client does not know.
    #[cynic(fallback)]
    Unknown,
}

/// One click, and the totals after it.
#[derive(cynic::QueryFragment, Clone, Debug, Serialize)]
#[cynic(graphql_type = "ClickEvent")]
pub struct Click {
    pub id: LinkId,
    pub at: DateTime<Utc>,
    pub bot: bool,
    pub bot_reason: Option<BotReason>,
    /// Two letters (ISO 3166-1), if the deployment provides it.
    pub country: Option<String>,
    pub device: Device,
    pub referrer_host: Option<String>,
    pub totals: ClickTotals,
}

#[derive(cynic::QueryFragment, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClickTotals {
    pub total: i32,
    pub people: i32,
    pub bots: i32,
    pub unique: i32,
}

/// Why a click counts as that of a bot.
#[derive(cynic::Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum BotReason {
    Crawler,
    Head,
    NoUserAgent,
    Prefetch,
    #[cynic(fallback)]
    Unknown,
}

#[derive(cynic::Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Desktop,
    Mobile,
    Other,
    Tablet,
    #[cynic(fallback)]
    Unknown,
}

/// The interval of a series.
#[derive(cynic::Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// From midnight to midnight, UTC.
    Day,
    Hour,
}

/// The clicks of one hour or day.
#[derive(cynic::QueryFragment, Clone, Debug, Serialize)]
pub struct ClickPoint {
    /// The start of the interval.
    pub at: DateTime<Utc>,
    pub total: i32,
    pub people: i32,
    pub bots: i32,
    pub unique: i32,
}

/// A link to create. The server chooses values that are absent.
#[derive(cynic::InputObject, Clone, Debug)]
#[cynic(graphql_type = "CreateLinkInput")]
pub struct NewLink {
    /// The target URL, with http or https.
    pub url: String,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub max_clicks: Option<i32>,
    /// 301, 302, 307 or 308.
    pub redirect_status: i32,
    pub enabled: bool,
}

/// Changes of a link. `None` and [`Patch::Keep`] keep a value.
#[derive(cynic::InputObject, Clone, Debug, Default)]
#[cynic(graphql_type = "UpdateLinkInput")]
pub struct LinkPatch {
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    #[cynic(skip_serializing_if = "Patch::is_keep")]
    pub title: Patch<String>,
    #[cynic(skip_serializing_if = "Patch::is_keep")]
    pub expires_at: Patch<DateTime<Utc>>,
    #[cynic(skip_serializing_if = "Patch::is_keep")]
    pub max_clicks: Patch<i32>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub redirect_status: Option<i32>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// Which links to list. All conditions must hold.
#[derive(cynic::InputObject, Clone, Debug, Default)]
#[cynic(graphql_type = "LinkFilter")]
pub struct LinkFilter {
    #[cynic(rename = "_or", skip_serializing_if = "Option::is_none")]
    pub any_of: Option<Vec<LinkFilter>>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub url: Option<TextFilter>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub title: Option<TextFilter>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub slug: Option<TextFilter>,
}

#[derive(cynic::InputObject, Clone, Debug, Default)]
#[cynic(graphql_type = "StringComparison")]
pub struct TextFilter {
    #[cynic(rename = "_eq", skip_serializing_if = "Option::is_none")]
    pub eq: Option<String>,
    /// A case-insensitive pattern: `%` matches any text, `_` any character.
    #[cynic(rename = "_ilike", skip_serializing_if = "Option::is_none")]
    pub ilike: Option<String>,
}

impl NewLink {
    /// A link to this URL, with the defaults of the server.
    pub fn to(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            slug: None,
            title: None,
            expires_at: None,
            max_clicks: None,
            redirect_status: 302,
            enabled: true,
        }
    }
}

impl LinkFilter {
    /// Links whose target URL, title or slug contains a text; case-insensitive.
    pub fn holding(text: &str) -> Self {
        let pattern = TextFilter {
            ilike: Some(format!("%{}%", escape(text))),
            ..TextFilter::default()
        };
        let url = Self {
            url: Some(pattern.clone()),
            ..Self::default()
        };
        let title = Self {
            title: Some(pattern.clone()),
            ..Self::default()
        };
        let slug = Self {
            slug: Some(pattern),
            ..Self::default()
        };
        Self {
            any_of: Some(vec![url, title, slug]),
            ..Self::default()
        }
    }
}

/// Escapes `%`, `_` and `\`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

impl From<&str> for LinkId {
    fn from(id: &str) -> Self {
        Self(id.to_owned())
    }
}

impl std::fmt::Display for LinkId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
