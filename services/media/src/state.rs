//! What every request needs, put together once.

use std::sync::Arc;

use axum::extract::FromRef;
use quartet_auth::jwt::JwtVerifier;
use quartet_common::clock::Clock;
use quartet_http::health::Readiness;
use quartet_service::idempotency::Idempotency;
use quartet_telemetry::metrics::Metrics;
use sqlx::PgPool;

use crate::{config::Config, metrics::MediaMetrics, objects::Objects};

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct AppState {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) pool: PgPool,
    pub(crate) verifier: JwtVerifier,
    pub(crate) objects: Objects,
    pub(crate) metrics: MediaMetrics,
}

impl AppState {
    /// # Errors
    /// When a setting breaks a rule; the message names it.
    pub fn new(
        config: Config,
        pool: PgPool,
        clock: Clock,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        config.validate()?;
        let verifier = JwtVerifier::new(&config.jwt, clock.clone())?;
        let objects = Objects::new(&config.s3);
        let metrics = MediaMetrics::register(metrics);
        Ok(Self {
            config: Arc::new(config),
            clock,
            pool,
            verifier,
            objects,
            metrics,
        })
    }

    /// Makes missing buckets where the settings say so.
    ///
    /// # Errors
    /// When the S3 API refuses.
    pub async fn prepare_buckets(&self) -> anyhow::Result<()> {
        if self.config.s3.create_buckets {
            self.objects.create_buckets().await?;
        }
        Ok(())
    }

    /// Ready when Postgres and both buckets answer.
    pub fn readiness(&self) -> Readiness {
        let objects = self.objects.clone();
        Readiness::new()
            .check("database", {
                let pool = self.pool.clone();
                move || quartet_db::ping(pool.clone())
            })
            .check("s3", move || {
                let objects = objects.clone();
                async move {
                    objects.probe().await.map_err(|error| {
                        // The reason holds addresses; /ready tells only that it does not answer.
                        tracing::warn!(%error, "the object store does not answer");
                        "does not answer".to_owned()
                    })
                }
            })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn idempotency(&self) -> Idempotency {
        Idempotency {
            pool: self.pool.clone(),
            clock: self.clock.clone(),
            verifier: self.verifier.clone(),
            // The bodies of this service hold no secret.
            hash_key: [0; 32],
        }
    }
}

impl FromRef<AppState> for JwtVerifier {
    fn from_ref(state: &AppState) -> Self {
        state.verifier.clone()
    }
}
