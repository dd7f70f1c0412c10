//! What the operations of the domain work with.

use std::sync::Arc;

use quartet_common::{
    clock::Clock,
    config::{ConfigError, Database},
};
use quartet_db::Reads;
use quartet_events::Erasures;
use quartet_service::Base;
use sqlx::PgPool;
use tokio::sync::Semaphore;

use super::{
    replica::{
        click_log::ClickLog, feeds::Feeds, redirect_cache::RedirectCache, salts::Salts,
        user_agents::UserAgentCache,
    },
    values::{domains::Domains, slugs::SlugSource, targets::OwnHosts},
};
use crate::{config::Config, metrics::LinksMetrics};

/// Cheap to clone; clones share everything.
///
/// Each kind of work has a pool of its own: a GraphQL query that waits for ten connections at once
/// must not keep redirects or the click log waiting, nor these each other.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    /// For GraphQL.
    pub(crate) db: PgPool,
    /// For statistics, which may be old.
    pub(crate) reads: Reads,
    /// For redirects.
    pub(crate) redirects_db: PgPool,
    /// Connections of `redirects_db` that uses of limited links may have: one that is used by many
    /// must not keep lookups of other links waiting.
    pub(crate) uses: Arc<Semaphore>,
    /// For storing clicks and for jobs.
    pub(crate) clicks_db: PgPool,
    /// One connection to Postgres itself: LISTEN does not work through a pooler in transaction mode.
    pub(crate) listen_db: PgPool,
    pub(crate) metrics: LinksMetrics,
    pub(crate) slugs: SlugSource,
    pub(crate) domains: Domains,
    pub(crate) own_hosts: OwnHosts,
    pub(crate) redirects: RedirectCache,
    pub(crate) salts: Salts,
    pub(crate) user_agents: UserAgentCache,
    pub(crate) click_log: ClickLog,
    pub(crate) feeds: Feeds,
    pub(crate) erasures: Erasures,
}

impl Context {
    /// Opens the click log of this replica, and connects to nothing.
    ///
    /// # Errors
    /// When the click log cannot be created or the URL of the database is invalid.
    pub(crate) fn new(config: Arc<Config>, base: &Base) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let pool = |work: &str, max_connections| {
            let database = Database {
                max_connections,
                ..config.database.clone()
            };
            let application = format!("quartet-links-{work}");
            base.databases.open("database.url", &database, &application)
        };
        let click_log = ClickLog::create(&config.clicks, &base.clock.uuid_v7().to_string());
        let log_dir = config.clicks.log_dir.display();
        let metrics = LinksMetrics::register(&base.metrics);
        let redirects_db = pool("redirects", config.redirects.max_connections)?;
        let clicks_db = pool("clicks", config.clicks.max_connections)?;
        let uses = usize::try_from(config.redirects.max_connections)?;
        let uses = uses.saturating_sub(1).max(1);
        let domains = Domains::default();
        let host = config.public.short_url.host_str().unwrap_or_default();
        Ok(Self {
            slugs: SlugSource::default(),
            own_hosts: OwnHosts::new(
                &config.public.short_url,
                &config.public.own_hosts,
                domains.clone(),
            ),
            domains,
            redirects: RedirectCache::new(
                &config.redirects,
                redirects_db.clone(),
                base.clock.clone(),
                metrics.clone(),
            ),
            salts: Salts::new(host),
            user_agents: UserAgentCache::default(),
            click_log: click_log
                .with_context(|| format!("the click log in {log_dir} cannot be created"))?,
            feeds: Feeds::new(config.graphql.max_feed_bytes, metrics.subscriptions.clone()),
            erasures: Erasures::new(clicks_db.clone(), base.clock.clone()),
            redirects_db,
            uses: Arc::new(Semaphore::new(uses)),
            clicks_db,
            listen_db: listen_pool(&config, base)?,
            config,
            clock: base.clock.clone(),
            db: base.db.clone(),
            reads: base.reads.clone(),
            metrics,
        })
    }
}

fn listen_pool(config: &Config, base: &Base) -> Result<PgPool, ConfigError> {
    let mut settings = config.database.clone();
    settings.max_connections = 1;
    settings.pooled = false;
    let mut key = "database.url";
    if let Some(url) = &config.events.listen_url {
        settings.url = url.clone();
        key = "events.listen_url";
    }
    base.databases.open(key, &settings, "quartet-links-listen")
}
