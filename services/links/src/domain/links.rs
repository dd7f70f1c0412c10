//! Links: who may make, change and delete them, and what they must look like.

use chrono::{DateTime, Duration, SubsecRound, Utc};
use quartet_common::{
    clock::Clock,
    problem::{Checks, FieldError, Problem, Rule},
};
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    redirects::Redirects,
    slugs::{Slug, SlugSource},
    targets::{OwnHosts, Target},
};
use crate::{
    error::Error,
    store::{self, links::LinkRow},
};

const MAX_TITLE_CHARS: usize = 200;
const MAX_MAX_CLICKS: i32 = 1_000_000_000;
const STATUSES: [i32; 4] = [301, 302, 307, 308];
const DEFAULT_STATUS: i32 = 302;
/// Links that expire later may as well not expire.
const MAX_LIFE: Duration = Duration::days(100 * 365);

quartet_db::typed_id!(pub(crate) LinkId, "lnk");
quartet_db::typed_id!(pub(crate) ClickId, "clk");

/// What somebody wants a new link to be.
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

/// What becomes of one column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Change<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

/// What somebody wants to change of a link.
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

/// Whether a link leads somewhere just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkStatus {
    Active,
    Disabled,
    Expired,
    Exhausted,
}

/// Makes, changes and deletes links. Clones share what they hold.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) slugs: SlugSource,
    pub(crate) own_hosts: OwnHosts,
    pub(crate) redirects: Redirects,
}

impl Links {
    /// Makes a link, under the chosen slug or a random one that is free.
    ///
    /// # Errors
    /// `Invalid` naming every field that breaks a rule; `SlugTaken`; `NoFreeSlug`.
    pub(crate) async fn create(&self, owner: &str, wish: NewLink) -> Result<LinkRow, Error> {
        let chosen = wish.slug.is_some();
        let (mut link, slug) = self.checked(wish)?;
        let mut candidates: Box<dyn Iterator<Item = Slug> + Send> = match slug {
            Some(slug) => Box::new(std::iter::once(slug)),
            None => Box::new(self.slugs.candidates()),
        };
        let mut tx = store::begin_as(&self.pool, owner).await?;
        loop {
            let Some(slug) = candidates.next() else {
                let pointer = "/input/slug";
                return Err(if chosen {
                    Error::SlugTaken { pointer }
                } else {
                    Error::NoFreeSlug
                });
            };
            slug.as_str().clone_into(&mut link.slug);
            if store::links::insert(&mut tx, owner, &link).await? {
                break;
            }
        }
        tx.commit().await?;
        self.redirects.forget(&link.slug).await;
        Ok(link)
    }

    /// Changes a link.
    ///
    /// # Errors
    /// `LinkNotFound`, `Invalid`, `SlugTaken`; nothing is changed then.
    pub(crate) async fn update(
        &self,
        owner: &str,
        id: LinkId,
        changes: LinkChanges,
    ) -> Result<LinkRow, Error> {
        let mut tx = store::begin_as(&self.pool, owner).await?;
        let old = store::links::lock(&mut tx, owner, id.uuid()).await?;
        let old = old.ok_or(Error::LinkNotFound)?;
        let mut link = self.changed(old.clone(), changes)?;
        link.updated_at = self.now();
        store::links::update(&mut tx, owner, &link).await?;
        tx.commit().await?;
        self.redirects.forget(&old.slug).await;
        self.redirects.forget(&link.slug).await;
        Ok(link)
    }

    /// Deletes a link and all that is known of its clicks.
    ///
    /// # Errors
    /// `LinkNotFound`.
    pub(crate) async fn delete(&self, owner: &str, id: LinkId) -> Result<(), Error> {
        let mut tx = store::begin_as(&self.pool, owner).await?;
        let slug = store::links::delete(&mut tx, owner, id.uuid()).await?;
        let slug = slug.ok_or(Error::LinkNotFound)?;
        tx.commit().await?;
        self.redirects.forget(&slug).await;
        Ok(())
    }

    fn checked(&self, wish: NewLink) -> Result<(LinkRow, Option<Slug>), Error> {
        let mut checks = Checks::new();
        let now = self.now();
        let url = checks.take("/input/url", Target::parse(&wish.url, &self.own_hosts));
        let slug = wish.slug.as_deref().map(Slug::chosen);
        let slug = slug.and_then(|slug| checks.take("/input/slug", slug));
        let title = wish
            .title
            .map(title)
            .and_then(|it| checks.take("/input/title", it));
        let status = redirect_status(wish.redirect_status.unwrap_or(DEFAULT_STATUS));
        let status = checks.take("/input/redirectStatus", status);
        let expires_at = wish.expires_at.map(|at| expiry(at, now));
        let expires_at = expires_at.and_then(|it| checks.take("/input/expiresAt", it));
        let max_clicks = wish.max_clicks.map(max_clicks);
        let max_clicks = max_clicks.and_then(|it| checks.take("/input/maxClicks", it));
        check_together(&mut checks, status, max_clicks);
        finish(checks)?;
        let link = LinkRow {
            id: LinkId::new(&self.clock).uuid(),
            slug: String::new(),
            url: url.map(|url| url.as_str().to_owned()).unwrap_or_default(),
            title,
            enabled: wish.enabled.unwrap_or(true),
            redirect_status: status.unwrap_or_default(),
            expires_at,
            max_clicks,
            uses: 0,
            created_at: now,
            updated_at: now,
            people: 0,
            uniques: 0,
            bots: 0,
            last_click_at: None,
        };
        Ok((link, slug))
    }

    fn changed(&self, mut link: LinkRow, changes: LinkChanges) -> Result<LinkRow, Error> {
        let mut checks = Checks::new();
        let now = self.now();
        let parse = |text: String| Target::parse(&text, &self.own_hosts);
        required(&mut checks, "url", changes.url, parse, |url| {
            url.as_str().clone_into(&mut link.url);
        });
        required(
            &mut checks,
            "slug",
            changes.slug,
            |text| Slug::chosen(&text),
            |slug| {
                slug.as_str().clone_into(&mut link.slug);
            },
        );
        required(&mut checks, "enabled", changes.enabled, Ok, |flag| {
            link.enabled = flag;
        });
        let status = changes.redirect_status;
        required(
            &mut checks,
            "redirectStatus",
            status,
            redirect_status,
            |status| {
                link.redirect_status = status;
            },
        );
        optional(&mut checks, "title", changes.title, title, &mut link.title);
        let at = |at| expiry(at, now);
        optional(
            &mut checks,
            "expiresAt",
            changes.expires_at,
            at,
            &mut link.expires_at,
        );
        optional(
            &mut checks,
            "maxClicks",
            changes.max_clicks,
            max_clicks,
            &mut link.max_clicks,
        );
        check_together(&mut checks, Some(link.redirect_status), link.max_clicks);
        finish(checks)?;
        Ok(link)
    }

    /// As exact as the database keeps it, so that answers agree with later ones.
    fn now(&self) -> DateTime<Utc> {
        self.clock.now().trunc_subsecs(6)
    }
}

impl LinkRow {
    pub(crate) fn status(&self, now: DateTime<Utc>) -> LinkStatus {
        if !self.enabled {
            LinkStatus::Disabled
        } else if self.expires_at.is_some_and(|at| at <= now) {
            LinkStatus::Expired
        } else if self.max_clicks.is_some_and(|max| self.uses >= max) {
            LinkStatus::Exhausted
        } else {
            LinkStatus::Active
        }
    }
}

fn required<I, O>(
    checks: &mut Checks,
    field: &str,
    change: Change<I>,
    parse: impl FnOnce(I) -> Result<O, Rule>,
    set: impl FnOnce(O),
) {
    let pointer = format!("/input/{field}");
    let parsed = match change {
        Change::Keep => return,
        Change::Clear => Err(Rule::new(
            "required",
            "must not be null; leave it out to keep it",
        )),
        Change::Set(value) => parse(value),
    };
    if let Some(value) = checks.take(&pointer, parsed) {
        set(value);
    }
}

fn optional<T>(
    checks: &mut Checks,
    field: &str,
    change: Change<T>,
    parse: impl FnOnce(T) -> Result<T, Rule>,
    into: &mut Option<T>,
) {
    match change {
        Change::Keep => {}
        Change::Clear => *into = None,
        Change::Set(value) => *into = checks.take(&format!("/input/{field}"), parse(value)),
    }
}

fn finish(checks: Checks) -> Result<(), Error> {
    checks
        .finish()
        .map_err(|problem: Problem| Error::Invalid(problem.errors))
}

fn title(text: String) -> Result<String, Rule> {
    if text.trim().is_empty() || text.chars().count() > MAX_TITLE_CHARS {
        let detail = format!("must have 1 to {MAX_TITLE_CHARS} characters that are not all blank");
        return Err(Rule::new("invalid_length", detail));
    }
    if text.chars().any(char::is_control) {
        return Err(Rule::new(
            "invalid_characters",
            "must not hold control characters",
        ));
    }
    Ok(text)
}

fn redirect_status(status: i32) -> Result<i16, Rule> {
    let rule = || Rule::new("invalid_value", "must be 301, 302, 307 or 308");
    STATUSES
        .contains(&status)
        .then(|| i16::try_from(status).ok())
        .flatten()
        .ok_or_else(rule)
}

fn expiry(at: DateTime<Utc>, now: DateTime<Utc>) -> Result<DateTime<Utc>, Rule> {
    if at <= now {
        return Err(Rule::new("in_the_past", "must lie in the future"));
    }
    if at > now + MAX_LIFE {
        return Err(Rule::new("too_late", "must lie within the next 100 years"));
    }
    Ok(at.trunc_subsecs(6))
}

fn max_clicks(count: i32) -> Result<i32, Rule> {
    let detail = || Rule::new("out_of_range", format!("must be 1 to {MAX_MAX_CLICKS}"));
    (1..=MAX_MAX_CLICKS)
        .contains(&count)
        .then_some(count)
        .ok_or_else(detail)
}

/// Browsers remember a permanent redirect, so it cannot be limited.
fn check_together(checks: &mut Checks, status: Option<i16>, max_clicks: Option<i32>) {
    if matches!(status, Some(301 | 308)) && max_clicks.is_some() {
        let detail = "must not be set for a permanent redirect (301, 308): browsers remember it";
        checks.push(FieldError::body("/input/maxClicks", "conflict", detail));
    }
}

/// The id in a text, with an error that names the argument.
pub(crate) fn parse_id(text: &str, pointer: &str) -> Result<LinkId, Error> {
    text.parse()
        .map_err(|error: quartet_common::ids::InvalidId| {
            Error::field(pointer, "invalid_id", error.to_string())
        })
}

/// The id as it goes over the wire.
pub(crate) fn link_id(id: Uuid) -> String {
    LinkId::from(id).to_string()
}

/// The same for a click.
pub(crate) fn click_id(id: Uuid) -> String {
    ClickId::from(id).to_string()
}

#[cfg(test)]
mod tests {
    use quartet_db as db;
    use quartet_testing::TestDatabase;

    use super::*;
    use crate::{MIGRATOR, config};

    fn links(database: &TestDatabase, letters: usize) -> Links {
        let pool = db::pool(&database.settings(), "test").unwrap();
        let settings = config::Redirects {
            cache_entries: 10,
            cache_ttl_seconds: 60,
            unknown_entries: 10,
            unknown_ttl_seconds: 60,
            permanent_max_age_seconds: 0,
        };
        Links {
            redirects: Redirects::new(pool.clone(), &settings),
            pool,
            clock: Clock::system(),
            slugs: SlugSource { letters },
            own_hosts: OwnHosts::new(&"http://go.example/".parse().unwrap(), &[]),
        }
    }

    #[tokio::test]
    async fn colliding_slugs_are_drawn_again_and_get_longer() {
        let database = TestDatabase::create("links", &MIGRATOR).await;
        // With one letter there is one slug of each length.
        let links = links(&database, 1);
        let wish = || NewLink {
            url: "https://example.com/".into(),
            ..NewLink::default()
        };
        let mut lengths = Vec::new();
        for _ in 0..4 {
            lengths.push(links.create("usr_a", wish()).await.unwrap().slug.len());
        }
        assert_eq!(lengths, [7, 8, 10, 12]);
        let error = links.create("usr_b", wish()).await.unwrap_err();
        assert!(matches!(error, Error::NoFreeSlug), "{error:?}");
    }
}
