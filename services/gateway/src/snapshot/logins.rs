//! The logins of a snapshot, with the sessions of those before.

use std::sync::Arc;

use quartet_auth::jwt::JwtVerifier;
use quartet_common::config::ConfigError;

use super::{Snapshot, SnapshotContext};
use crate::{
    config::Config,
    metrics::GatewayMetrics,
    policy::rate_limit::{SharedCommands, SharedCounter},
    session::{CommandStore, Login, LoginParts},
};

impl Snapshot {
    /// In the order of the configuration. Sessions in memory, and what is known of a provider, stay while
    /// they are of the same provider and client.
    ///
    /// # Errors
    /// When a part of a login is missing.
    pub(super) fn logins(
        config: &Config,
        previous: Option<&Self>,
        (verifiers, counter): (&[JwtVerifier], Option<&Arc<SharedCounter>>),
        shared: SnapshotContext<'_>,
    ) -> Result<Vec<Arc<Login>>, ConfigError> {
        let commands = counter.map(|counter| {
            let commands = SharedCommands(Arc::clone(counter));
            Arc::new(commands) as Arc<dyn CommandStore>
        });
        let core = config.issuers.iter().zip(verifiers);
        let core = core.filter(|(issuer, _)| issuer.is_default());
        let core = core.map(|(_, verifier)| verifier).next();
        let logins = config.logins.iter().map(|login| {
            let mut before = previous.iter().flat_map(|snapshot| &snapshot.logins);
            let before = before.find(|before| before.config.name == login.name);
            let parts = LoginParts {
                previous: before.map(|before| &**before),
                commands: commands.as_ref(),
                core,
                revocations: shared.revocations,
                clock: shared.clock,
                metrics: shared.metrics,
            };
            Login::build(login.clone(), parts).map(Arc::new)
        });
        logins.collect()
    }

    /// Forgets what is over, and closes what is open by sessions that have ended elsewhere.
    pub(crate) async fn sweep_logins(&self, metrics: &GatewayMetrics) {
        for login in &self.logins {
            if let Some(sessions) = login.sweep().await {
                metrics.set_sessions(&login.config.name, sessions);
            }
        }
    }

    /// Removes the numbers of sessions that `next` has no login for.
    pub(super) fn forget_logins(&self, next: &Self, metrics: &GatewayMetrics) {
        for login in &self.logins {
            let name = &login.config.name;
            if next.logins.iter().all(|it| it.config.name != *name) {
                metrics.forget_sessions(name);
            }
        }
    }
}
