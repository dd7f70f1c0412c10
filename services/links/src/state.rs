//! What every request needs, put together once.

use std::{path::PathBuf, sync::Arc};

use axum::extract::FromRef;
use http::HeaderName;
use quartet_auth::jwt::JwtVerifier;
use quartet_common::clock::Clock;
use quartet_db as db;
use quartet_telemetry::metrics::Metrics;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    domain::{
        clicks::ClickLog, feeds::Feeds, links::Links, redirects::Redirects, salts::Salts,
        slugs::SlugSource, targets::OwnHosts,
    },
    graphql::Schema,
    jobs::Batches,
    metrics::LinkMetrics,
};

/// Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct AppState {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) verifier: JwtVerifier,
    pub(crate) links: Links,
    pub(crate) visits: Visits,
    pub(crate) feeds: Feeds,
    pub(crate) schema: Schema,
    /// Cancelled when the process is to end: streams finish then.
    pub(crate) shutdown: CancellationToken,
}

/// What the redirect needs.
#[derive(Clone, Debug)]
pub(crate) struct Visits {
    pub(crate) redirects: Redirects,
    pub(crate) salts: Salts,
    pub(crate) log: ClickLog,
    pub(crate) country_header: Option<HeaderName>,
    /// The host in the visitor hashes: that of the short address.
    pub(crate) host: Arc<str>,
    pub(crate) metrics: LinkMetrics,
}

/// What has to exist before the state does.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) verifier: JwtVerifier,
    pub(crate) pool: PgPool,
    pub(crate) log: ClickLog,
    pub(crate) metrics: LinkMetrics,
    pub(crate) shutdown: CancellationToken,
}

impl AppState {
    pub(crate) fn new(parts: Parts) -> anyhow::Result<Self> {
        let Parts {
            config,
            clock,
            verifier,
            pool,
            log,
            metrics,
            shutdown,
        } = parts;
        let redirects = Redirects::new(pool.clone(), &config.redirects);
        let visits = Visits {
            redirects: redirects.clone(),
            salts: Salts::default(),
            log,
            country_header: config.clicks.country_header()?,
            host: config
                .public
                .short_url
                .host_str()
                .unwrap_or_default()
                .into(),
            metrics,
        };
        let links = Links {
            pool: pool.clone(),
            clock: clock.clone(),
            slugs: SlugSource::default(),
            own_hosts: OwnHosts::new(&config.public.short_url, &config.public.own_hosts),
            redirects,
        };
        let feeds = Feeds::new(pool);
        let config = Arc::new(config);
        let schema = crate::graphql::schema(&config, links.clone(), feeds.clone());
        Ok(Self {
            config,
            clock,
            verifier,
            links,
            visits,
            feeds,
            schema,
            shutdown,
        })
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.config.clicks.log_dir.clone()
    }

    /// Brings clicks into the database.
    pub(crate) fn batches(&self) -> Batches {
        Batches {
            pool: self.links.pool.clone(),
            metrics: self.visits.metrics.clone(),
            retention_days: self.config.clicks.retention_days,
        }
    }

    /// One connection that goes to Postgres directly, for LISTEN.
    pub(crate) fn listen_pool(&self) -> Result<PgPool, sqlx::Error> {
        let mut settings = self.config.database.clone();
        if let Some(url) = &self.config.events.listen_url {
            settings.url = url.clone();
        }
        settings.max_connections = 1;
        db::pool(&settings, "quartet-links-listen")
            .map_err(|error| sqlx::Error::Configuration(error.into()))
    }

    pub(crate) fn register(&self, metrics: &Metrics) {
        let loads = self.visits.redirects.loads.clone();
        metrics.register(
            "links_redirect_loads",
            "Redirects looked up in Postgres",
            loads,
        );
        let watchers = self.feeds.watchers.clone();
        metrics.register("links_subscriptions", "Subscriptions that run", watchers);
    }
}

impl FromRef<AppState> for JwtVerifier {
    fn from_ref(state: &AppState) -> Self {
        state.verifier.clone()
    }
}
