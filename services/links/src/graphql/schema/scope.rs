//! What every resolver reads from its context.

use std::sync::Arc;

use async_graphql::Context;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    domain,
    graphql::{budget::Meter, error::Result},
};

/// Whose links a request sees. Nothing is executed without.
pub(super) struct Owner(pub(super) Arc<str>);

/// The domain's context, and the owner.
pub(super) fn scope<'a>(ctx: &'a Context<'_>) -> Result<(&'a domain::Context, &'a Arc<str>)> {
    Ok((ctx.data::<domain::Context>()?, &ctx.data::<Owner>()?.0))
}

/// The right to occupy a connection to Postgres, for every resolver that needs one: the fields of an
/// operation run at the same time, and those of one user must leave some for others.
pub(super) async fn connection(ctx: &Context<'_>) -> Result<OwnedSemaphorePermit> {
    Ok(ctx.data::<Meter>()?.connection().await?)
}
