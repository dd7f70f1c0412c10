//! The subcommands of this service beside the shared ones.

use chrono::SecondsFormat;
use clap::Subcommand;

use crate::{config::SigningAlgorithm, domain::Context};

// A doc comment would become the text of --help.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create signing keys that become active after `keys.publish_ahead_seconds`.
    RotateKeys {
        /// Of one of `keys.algorithms` instead of all of them.
        #[arg(long)]
        algorithm: Option<SigningAlgorithm>,
        /// Activate the keys immediately and delete all others, which invalidates their tokens.
        #[arg(long)]
        now: bool,
    },
    /// Seal stored keys with `keys.master_key`, so that `keys.previous_master_keys` can be removed.
    Reseal,
}

impl Command {
    /// # Errors
    /// When the database fails, or not all keys can be sealed.
    pub(crate) async fn run(self, ctx: &Context) -> anyhow::Result<()> {
        match self {
            Self::RotateKeys { algorithm, now } => rotate_keys(ctx, algorithm, now).await,
            Self::Reseal => reseal(ctx).await,
        }
    }
}

async fn rotate_keys(
    ctx: &Context,
    algorithm: Option<SigningAlgorithm>,
    now: bool,
) -> anyhow::Result<()> {
    let configured = &ctx.config.keys.algorithms;
    if let Some(other) = algorithm.filter(|one| !configured.contains(one)) {
        anyhow::bail!("{other} is not one of keys.algorithms");
    }
    for key in ctx.keys.rotate(&ctx.db, algorithm, now).await? {
        let at = key.activates_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let (kid, algorithm) = (key.kid, key.algorithm);
        eprintln!("signing key {kid} ({algorithm}) becomes active at {at}");
    }
    Ok(())
}

async fn reseal(ctx: &Context) -> anyhow::Result<()> {
    let (count, unusable) = ctx.keys.reseal(&ctx.db).await?;
    eprintln!("{count} keys sealed with the current master key");
    for key in &unusable {
        eprintln!("{key}");
    }
    anyhow::ensure!(unusable.is_empty(), "{} keys not sealed", unusable.len());
    Ok(())
}
