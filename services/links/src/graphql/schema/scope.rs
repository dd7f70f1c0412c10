//! What every resolver reads from its context.

use std::sync::Arc;

use async_graphql::Context;

use crate::{domain, graphql::error::Result};

/// Whose links a request sees. Nothing is executed without.
pub(super) struct Owner(pub(super) Arc<str>);

/// The domain's context, and the owner.
pub(super) fn scope<'a>(ctx: &'a Context<'_>) -> Result<(&'a domain::Context, &'a Arc<str>)> {
    Ok((ctx.data::<domain::Context>()?, &ctx.data::<Owner>()?.0))
}
