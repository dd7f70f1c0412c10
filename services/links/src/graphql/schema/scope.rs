//! What every resolver reads from its context.

use async_graphql::Context;
use quartet_auth::Actor;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    domain,
    graphql::{budget::Meter, error::Result},
};

/// The domain's context, and who acts. Nothing is executed without.
pub(super) fn scope<'a>(ctx: &'a Context<'_>) -> Result<(&'a domain::Context, &'a Actor)> {
    Ok((ctx.data::<domain::Context>()?, ctx.data::<Actor>()?))
}

/// The right to occupy a connection to Postgres, for every resolver that needs one: the fields of an
/// operation run at the same time, and those of one user must leave some for others.
pub(super) async fn connection(ctx: &Context<'_>) -> Result<OwnedSemaphorePermit> {
    Ok(ctx.data::<Meter>()?.connection().await?)
}
