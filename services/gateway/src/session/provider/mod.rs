//! What the gateway asks of a provider: its metadata, tokens for a code, and who the user is.

mod error;
mod github;
mod http;
mod identity;
mod metadata;
mod tokens;
mod user;

pub(super) use error::ProviderError;
pub(super) use http::ProviderClient;
pub(super) use metadata::{Metadata, MetadataCache};
pub(super) use tokens::{CodeExchange, TokenSet, revoke};
pub(super) use user::{identify, renewed_identity};
