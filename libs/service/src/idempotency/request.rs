//! What identifies a request: its caller and its key.

use axum::extract::Request;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, request::Parts};
use quartet_auth::{
    Actor, bearer_token,
    jwt::{JwtError, JwtVerifier},
};
use quartet_common::problem::Problem;
use quartet_http::{extract::Body as WholeBody, layers::ClientIp};

pub static HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_KEY_BYTES: usize = 255;

/// The key of a request, if it has one.
///
/// # Errors
/// 400 for an invalid key, and for several: which of them counts, nobody could say.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(&HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let invalid =
        |rule| Problem::invalid_parameter(HEADER.as_str(), "invalid_idempotency_key", rule);
    if values.next().is_some() {
        return Err(invalid("must be sent once"));
    }
    let text = value.to_str().unwrap_or_default();
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || text.len() > MAX_KEY_BYTES || !visible {
        return Err(invalid("must be 1 to 255 visible ASCII characters"));
    }
    Ok(Some(text.to_owned()))
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

/// Keys of different callers never collide. A caller without a valid token is identified by the client
/// IP: whether the request needs one is for its handler to say, and a public one ignores it.
///
/// # Errors
/// 503 when the token cannot be verified, and so may be valid.
pub(super) async fn principal(verifier: &JwtVerifier, request: &Parts) -> Result<String, Problem> {
    let actor = match bearer_token(&request.headers) {
        Ok(token) => Actor::from_token(verifier, token).await,
        Err(error) => Err(error),
    };
    match actor {
        Ok(actor) => Ok(actor.subject().to_string()),
        Err(error @ JwtError::KeysUnavailable(_)) => Err(error.into()),
        Err(_) => {
            let address = request.extensions.get::<ClientIp>();
            Ok(format!(
                "anonymous {}",
                address.map_or(String::new(), |client| client.0.to_string())
            ))
        }
    }
}
