//! What identifies a request: its caller and its key.

use axum::extract::Request;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, request::Parts};
use quartet_auth::{
    Actor, bearer_token,
    jwt::{JwtError, JwtVerifier},
};
use quartet_common::problem::Problem;
use quartet_http::{extract::Body as WholeBody, layers::ClientIp};

pub static HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_KEY_BYTES: usize = 255;

pub(super) fn parse_key(value: &HeaderValue) -> Result<String, Problem> {
    let text = value.to_str().unwrap_or_default();
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || text.len() > MAX_KEY_BYTES || !visible {
        return Err(Problem::invalid_parameter(
            HEADER.as_str(),
            "invalid_idempotency_key",
            "must be 1 to 255 visible ASCII characters",
        ));
    }
    Ok(text.to_owned())
}

/// Head and whole body of the request.
pub(super) async fn read(request: Request) -> Result<(Parts, Bytes), Problem> {
    let (parts, body) = request.into_parts();
    let mut reading = Request::new(body);
    *reading.extensions_mut() = parts.extensions.clone();
    let WholeBody(bytes) =
        <WholeBody as axum::extract::FromRequest<()>>::from_request(reading, &()).await?;
    Ok((parts, bytes))
}

/// Keys of different callers never collide. A caller without a token is identified by the client IP.
pub(super) async fn principal(verifier: &JwtVerifier, request: &Parts) -> Result<String, Problem> {
    match bearer_token(&request.headers) {
        Ok(token) => Ok(Actor::from_token(verifier, token)
            .await?
            .subject()
            .to_string()),
        Err(JwtError::Missing) => {
            let address = request.extensions.get::<ClientIp>();
            Ok(format!(
                "anonymous {}",
                address.map_or(String::new(), |client| client.0.to_string())
            ))
        }
        Err(error) => Err(error.into()),
    }
}
