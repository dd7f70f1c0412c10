//! Creating, changing, deleting and reading links, for their owner only.

use chrono::{DateTime, Utc};
use quartet_auth::Actor;
use quartet_db::begin_as;

use super::{
    Context,
    replica::feeds::Watch,
    values::{domains, short_urls::ShortUrlRef, slugs::Slug},
};
use crate::{
    error::Error,
    store::{
        self,
        link_filters::Filter,
        link_lists::{self, Order, Slice},
        links::{LinkId, LinkRow},
    },
};

pub(crate) use super::link_input::{Change, LinkChanges, NewLink};

/// Whether a link currently redirects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkStatus {
    Active,
    Disabled,
    Expired,
    Exhausted,
}

impl LinkRow {
    fn short_url(&self) -> ShortUrlRef<'_> {
        ShortUrlRef {
            domain: self.domain_id,
            slug: &self.slug,
        }
    }

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

/// Creates a link under the chosen slug, or under a random one that is free.
///
/// # Errors
/// `Invalid` with every invalid field; `SlugTaken`; `NoFreeSlug`.
pub(crate) async fn create(ctx: &Context, actor: &Actor, input: NewLink) -> Result<LinkRow, Error> {
    let now = ctx.clock.now();
    let valid = input.validate(&ctx.own_hosts, now)?;
    let (candidates, if_taken) = match valid.slug.clone() {
        Some(slug) => (vec![slug], Error::SlugTaken),
        None => (ctx.slugs.candidates().collect(), Error::NoFreeSlug),
    };
    let mut link = valid.into_row(LinkId::new(&ctx.clock), now);
    let mut tx = begin_as(&ctx.db, actor.principals()).await?;
    for slug in candidates {
        link.slug = slug.into();
        if store::links::insert(&mut tx, actor.owner(), &link).await? {
            tx.commit().await?;
            ctx.redirects.forget(link.short_url());
            return Ok(link);
        }
    }
    Err(if_taken)
}

/// Changes a link.
///
/// # Errors
/// `LinkNotFound`, `Invalid`, `SlugTaken`; the link is then unchanged.
pub(crate) async fn update(
    ctx: &Context,
    actor: &Actor,
    id: LinkId,
    changes: LinkChanges,
) -> Result<LinkRow, Error> {
    let now = ctx.clock.now();
    let mut tx = begin_as(&ctx.db, actor.principals()).await?;
    let old = store::links::lock(&mut tx, actor.owner(), id).await?;
    let old = old.ok_or(Error::LinkNotFound)?;
    let mut link = changes.apply(old.clone(), &ctx.own_hosts, now)?;
    link.updated_at = now;
    if link.slug != old.slug {
        store::links::set_slug_rest(&mut tx, ctx.config.public.slug_rest_seconds()).await?;
    }
    store::links::update(&mut tx, actor.owner(), &link).await?;
    tx.commit().await?;
    ctx.redirects.forget(old.short_url());
    ctx.redirects.forget(link.short_url());
    Ok(link)
}

/// Deletes a link with its counts and clicks. Its slug rests: for a while only the owner may use it
/// again.
///
/// # Errors
/// `LinkNotFound`.
pub(crate) async fn delete(ctx: &Context, actor: &Actor, id: LinkId) -> Result<(), Error> {
    let mut tx = begin_as(&ctx.db, actor.principals()).await?;
    store::links::set_slug_rest(&mut tx, ctx.config.public.slug_rest_seconds()).await?;
    let deleted = store::links::delete(&mut tx, actor.owner(), id).await?;
    let deleted = deleted.ok_or(Error::LinkNotFound)?;
    tx.commit().await?;
    ctx.redirects.forget(ShortUrlRef {
        domain: deleted.domain_id,
        slug: &deleted.slug,
    });
    Ok(())
}

pub(crate) async fn by_id(
    ctx: &Context,
    actor: &Actor,
    id: LinkId,
) -> Result<Option<LinkRow>, Error> {
    let mut tx = begin_as(&ctx.db, actor.principals()).await?;
    // Nothing to commit: the rollback costs no round trip of its own.
    Ok(store::links::by_id(&mut tx, actor.owner(), id).await?)
}

/// The link of a slug in the default domain.
pub(crate) async fn by_slug(
    ctx: &Context,
    actor: &Actor,
    slug: &Slug,
) -> Result<Option<LinkRow>, Error> {
    let mut tx = begin_as(&ctx.db, actor.principals()).await?;
    let domain = domains::DEFAULT.into();
    Ok(store::links::by_slug(&mut tx, actor.owner(), domain, slug.as_str()).await?)
}

/// A slice of the owner's links that match `filter`.
pub(crate) async fn list(
    ctx: &Context,
    actor: &Actor,
    filter: &Filter,
    order: Order,
    slice: &Slice,
) -> Result<Vec<LinkRow>, Error> {
    let mut tx = begin_as(&ctx.db, actor.principals()).await?;
    Ok(link_lists::list(&mut tx, actor.owner(), filter, order, slice).await?)
}

/// The number of the owner's links that match `filter`.
pub(crate) async fn count(ctx: &Context, actor: &Actor, filter: &Filter) -> Result<i64, Error> {
    let mut tx = begin_as(&ctx.db, actor.principals()).await?;
    Ok(link_lists::count(&mut tx, actor.owner(), filter).await?)
}

/// Watches the clicks of a link, from now on.
///
/// # Errors
/// `LinkNotFound`.
pub(crate) async fn watch(ctx: &Context, actor: &Actor, id: LinkId) -> Result<Watch, Error> {
    let now = ctx.clock.now();
    let watch = ctx.feeds.subscribe(id);
    let mut tx = begin_as(&ctx.db, actor.principals()).await?;
    let batch = store::clicks::last_batch(&mut tx, actor.owner(), id).await?;
    // The start takes a connection of its own.
    drop(tx);
    let batch = batch.ok_or(Error::LinkNotFound)?;
    Ok(ctx.feeds.start(&ctx.db, watch, batch, now).await?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quartet_common::{
        clock::Clock,
        config::{self, COMMON_DEFAULTS},
    };
    use quartet_service::Base;
    use quartet_testing::TestDatabase;
    use tokio_util::sync::CancellationToken;

    use super::{super::values::slugs::SlugSource, *};
    use crate::{MIGRATOR, Service, config::Config};

    fn actor(subject: &str) -> Actor {
        let claims = serde_json::json!({"sub": subject, "exp": 0});
        Actor::from_claims(Arc::new(serde_json::from_value(claims).unwrap())).unwrap()
    }

    #[tokio::test]
    async fn colliding_slugs_are_retried_and_get_longer() {
        let database = TestDatabase::create("links", &MIGRATOR).await;
        let log = tempfile::tempdir().unwrap();
        let environment = [
            ("DATABASE_URL", database.url()),
            ("QUARTET_JWT_JWKS_URL", "http://127.0.0.1:1/".to_owned()),
            ("QUARTET_CLICKS_LOG_DIR", log.path().display().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let defaults = [COMMON_DEFAULTS, include_str!("../../default.toml")];
        let config: Config = config::load(&defaults, None, environment).unwrap();
        let base =
            Base::new::<Service>(&config, Clock::system(), CancellationToken::new()).unwrap();
        let mut ctx = Context::new(Arc::new(config), &base).unwrap();
        // One letter leaves one slug of each length.
        ctx.slugs = SlugSource { letters: 1 };
        let input = || NewLink {
            url: "https://example.com/".into(),
            ..NewLink::default()
        };
        let mut lengths = Vec::new();
        for _ in 0..4 {
            let link = create(&ctx, &actor("usr_a"), input()).await.unwrap();
            lengths.push(link.slug.len());
        }
        assert_eq!(lengths, [7, 8, 10, 12]);
        let error = create(&ctx, &actor("usr_b"), input()).await.unwrap_err();
        assert!(matches!(error, Error::NoFreeSlug), "{error:?}");
    }
}
