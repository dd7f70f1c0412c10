//! Requests with an API key.

use http::{HeaderValue, header};
use quartet_auth::jwt::JwtError;
use quartet_common::problem::Problem;

use super::{
    AccessToken,
    token::{API_KEY, Presented},
};
use crate::{
    api_keys::{ApiKeyError, ApiKeys},
    error,
    policy::context::{Edit, Flow, PolicyContext},
    request::RequestFacts,
};

impl AccessToken {
    /// Decides by the access token that the key stands for, which the upstream gets instead.
    pub(super) async fn exchange(
        &self,
        keys: &ApiKeys,
        presented: Presented<'_>,
        facts: RequestFacts<'_>,
        context: &mut PolicyContext,
    ) -> Flow {
        let token = match keys.token(presented.token).await {
            Ok(token) => token,
            Err(error) => {
                context.deferred = Some(problem(error).into());
                return Flow::Continue;
            }
        };
        let result = match self.issuers.verified(&token) {
            Some(result) => result,
            None => self.issuers.verify(&token).await,
        };
        if is_outdated(&result) {
            // The next request exchanges the key again.
            keys.forget(presented.token).await;
        }
        if let Ok(value) = HeaderValue::try_from(format!("Bearer {token}")) {
            context.edits.push(Edit::Set(header::AUTHORIZATION, value));
            context.edits.push(Edit::Remove(API_KEY.clone()));
        }
        self.conclude(result, presented, &facts, context)
    }
}

/// Whether a token of core is refused as such: its signing key was replaced at once, or clocks differ.
fn is_outdated<T>(result: &Result<T, JwtError>) -> bool {
    matches!(result, Err(error) if !matches!(error, JwtError::KeysUnavailable(_)))
}

fn problem(error: ApiKeyError) -> Problem {
    match error {
        ApiKeyError::Invalid => error::invalid_token(&error.to_string()),
        ApiKeyError::Away(_) | ApiKeyError::Busy => Problem::unavailable(error),
    }
}
