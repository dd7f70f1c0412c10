//! The subcommands of this service beside the shared ones.

use clap::Subcommand;
use quartet_service::with_base;

use crate::{Service, config::Config, state::AppState};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a signing key that becomes active after `keys.publish_ahead_seconds`.
    RotateKeys {
        /// Activate the key immediately and delete all others, which invalidates their tokens.
        #[arg(long)]
        now: bool,
    },
}

impl Command {
    pub(crate) fn run(self, config: Config) -> anyhow::Result<()> {
        let Self::RotateKeys { now } = self;
        with_base::<Service, _>(config, async |config, base| {
            let ctx = AppState::new(config, base)?.ctx;
            let key = ctx.keys.rotate(&ctx.db, now).await?;
            eprintln!(
                "signing key {} becomes active at {}",
                key.kid,
                key.activates_at.to_rfc3339()
            );
            Ok(())
        })
    }
}
