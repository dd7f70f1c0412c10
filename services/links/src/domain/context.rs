//! What the operations of the domain work with.

use std::{io, sync::Arc};

use quartet_common::clock::Clock;
use quartet_service::Base;
use sqlx::PgPool;

use super::{
    replica::{click_log::ClickLog, feeds::Feeds, redirect_cache::RedirectCache, salts::Salts},
    values::{slugs::SlugSource, targets::OwnHosts},
};
use crate::{config::Config, metrics::LinkMetrics};

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) db: PgPool,
    pub(crate) metrics: LinkMetrics,
    pub(crate) slugs: SlugSource,
    pub(crate) own_hosts: OwnHosts,
    pub(crate) redirects: RedirectCache,
    pub(crate) salts: Salts,
    pub(crate) click_log: ClickLog,
    pub(crate) feeds: Feeds,
}

impl Context {
    /// Opens the click log of this replica.
    ///
    /// # Errors
    /// When the click log cannot be created.
    pub(crate) fn new(config: Arc<Config>, base: &Base) -> io::Result<Self> {
        let metrics = LinkMetrics::register(&base.metrics);
        Ok(Self {
            slugs: SlugSource::default(),
            own_hosts: OwnHosts::new(&config.public.short_url, &config.public.own_hosts),
            redirects: RedirectCache::new(&config.redirects, metrics.redirect_loads.clone()),
            salts: Salts::default(),
            click_log: ClickLog::create(&config.clicks, &base.clock.uuid_v7().to_string())?,
            feeds: Feeds::new(metrics.subscriptions.clone()),
            config,
            clock: base.clock.clone(),
            db: base.db.clone(),
            metrics,
        })
    }
}
