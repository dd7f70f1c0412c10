//! axum's extractors, with [`Problem`]s as rejections that name every field at fault and its rule.

use std::{convert::Infallible, fmt, time::Duration};

use axum::{
    extract::{
        FromRequest, FromRequestParts, RawPathParams, Request,
        path::ErrorKind,
        rejection::{BytesRejection, FailedToBufferBody, PathRejection},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, header, request::Parts};
use quartet_common::{
    problem::{FieldError, Problem, kinds},
    wording,
};
use serde::{
    Deserializer, Serialize,
    de::{DeserializeOwned, Unexpected, Visitor},
};

pub use crate::{
    etags::{IfMatch, IfNoneMatch},
    members::Unchecked,
};
use crate::{
    layers::{BodyLimits, ClientIp},
    members,
};

/// A JSON body in and out. Accepts `application/json` and `application/*+json`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json<T>(pub T);

/// Path parameters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path<T>(pub T);

/// Query parameters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<T>(pub T);

/// The whole request body within the size and time limits.
#[derive(Clone, Debug, Default)]
pub struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let limits = request.extensions().get::<BodyLimits>();
        let BodyLimits { timeout, bytes } = limits.copied().unwrap_or(BodyLimits {
            timeout: Duration::from_secs(10),
            bytes: None,
        });
        let reading = Bytes::from_request(request, state);
        match tokio::time::timeout(timeout, reading).await {
            Ok(Ok(read)) => Ok(Self(read)),
            Ok(Err(rejection)) => Err(body_problem(rejection, bytes)),
            Err(_) => Err(Problem::new(&kinds::REQUEST_TIMEOUT).detail(format!(
                "the body must arrive within {} s",
                timeout.as_secs()
            ))),
        }
    }
}

fn body_problem(rejection: BytesRejection, limit_bytes: Option<usize>) -> Problem {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            let problem = Problem::new(&kinds::BODY_TOO_LARGE);
            match limit_bytes {
                Some(limit) => problem.detail(format!("must be at most {limit} bytes")),
                None => problem,
            }
        }
        other => Problem::new(&kinds::INCOMPLETE_BODY).source(other),
    }
}

/// For handlers with rules of their own: their violations are reported together with those of types.
impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Unchecked<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_typed = request.headers().contains_key(header::CONTENT_TYPE);
        let refused = require_json(request.headers()).err();
        if let Some(problem) = refused {
            if is_typed {
                return Err(problem);
            }
            // No body at all: what is missing helps more than the type of what is not there.
            let Body(bytes) = Body::from_request(request, state).await?;
            return match members::read(b"{}") {
                Ok(none) if bytes.is_empty() && none.has_errors() => Ok(none),
                _ => Err(problem),
            };
        }
        let Body(bytes) = Body::from_request(request, state).await?;
        refuse_array(&bytes)?;
        members::read(&bytes)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Unchecked::from_request(request, state).await?;
        body.check(Ok).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value
        .unwrap_or("")
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    let is_json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json {
        return Ok(());
    }
    Err(
        Problem::new(&kinds::UNSUPPORTED_MEDIA_TYPE).field(FieldError::parameter(
            "content-type",
            "unsupported_media_type",
            "must be application/json",
        )),
    )
}

/// Every body is an object, but serde also reads an array into a struct, field by field.
fn refuse_array(bytes: &[u8]) -> Result<(), Problem> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        let rule = FieldError::body("", "invalid_value", "must be an object");
        return Err(Problem::invalid(vec![rule]));
    }
    Ok(())
}

/// Parses JSON; every member at fault is reported by its pointer.
///
/// # Errors
/// 400 `malformed_json` with line and column; 422 `invalid_body` with the pointers.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    members::read(bytes)?.check(Ok)
}

/// Reads a non-negative integer, also in the form `23.0`: in JSON both are the same number.
///
/// # Errors
/// When the value is not an integer, or not exact as a double.
pub fn whole_number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_u64(WholeNumber)
}

struct WholeNumber;

impl Visitor<'_> for WholeNumber {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a non-negative integer")
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<u64, E> {
        Ok(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<u64, E> {
        /// From 2^53 on, doubles skip integers.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if value.fract() != 0.0 || !(0.0..EXACT).contains(&value) {
            return Err(E::invalid_value(Unexpected::Float(value), &self));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an integer within the bounds"
        )]
        Ok(value as u64)
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let taken =
            <axum::extract::Path<T> as FromRequestParts<S>>::from_request_parts(parts, state).await;
        match taken {
            Ok(path) => Ok(Self(path.0)),
            Err(rejection) => Err(path_problem(rejection, &only_parameter(parts).await)),
        }
    }
}

/// The name of the only path parameter: its parser does not know it.
async fn only_parameter(parts: &mut Parts) -> String {
    let parameters = RawPathParams::from_request_parts(parts, &()).await.ok();
    let mut names = parameters
        .iter()
        .flat_map(RawPathParams::iter)
        .map(|(name, _)| name);
    match (names.next(), names.next()) {
        (Some(name), None) => name.to_owned(),
        _ => "path".to_owned(),
    }
}

fn path_problem(rejection: PathRejection, only: &str) -> Problem {
    let PathRejection::FailedToDeserializePathParams(failed) = rejection else {
        return Problem::internal(rejection);
    };
    match failed.kind() {
        ErrorKind::DeserializeError { key, message, .. } => {
            invalid_value(key, wording::fault(message).rule)
        }
        ErrorKind::ParseErrorAtKey {
            key, expected_type, ..
        } => invalid_value(key, wording::must_be(expected_type)),
        ErrorKind::InvalidUtf8InPathParam { key } => {
            Problem::invalid_parameter(key, "invalid_utf8", "must be UTF-8")
        }
        ErrorKind::Message(message) => invalid_value(only, wording::fault(message).rule),
        _ => invalid_value("path", failed.body_text()),
    }
}

fn invalid_value(name: &str, rule: String) -> Problem {
    Problem::invalid_parameter(name, "invalid_value", rule)
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        members::read_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientIp {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let seen = parts.extensions.get::<Self>().copied();
        Ok(seen.unwrap_or(Self(std::net::IpAddr::from([127, 0, 0, 1]))))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only parsing is tested")]
        outer: Vec<u64>,
    }

    #[derive(Debug, Deserialize)]
    struct Patch {
        #[expect(dead_code, reason = "only parsing is tested")]
        name: Option<String>,
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_fraction_of_zero() {
        #[derive(Debug, Deserialize)]
        struct Size(#[serde(deserialize_with = "whole_number")] u64);
        let read = |text: &str| from_json::<Size>(text.as_bytes());
        for (text, number) in [("23", 23), ("23.0", 23), ("2.3e1", 23), ("0", 0)] {
            assert_eq!(read(text).unwrap().0, number, "{text}");
        }
        assert_eq!(read("18446744073709551615").unwrap().0, u64::MAX);
        for text in ["-1", "-1.0", "0.5", "1e300", "\"23\"", "null", "true"] {
            let detail = &read(text).unwrap_err().errors[0].detail;
            assert_eq!(detail, "must be a non-negative integer", "{text}");
        }
    }

    #[tokio::test]
    async fn an_array_is_not_an_object() {
        let request = |text: &'static str| {
            let kind = (header::CONTENT_TYPE, "application/json");
            let request = Request::builder().header(kind.0, kind.1);
            request.body(axum::body::Body::from(text)).unwrap()
        };
        let outcome = Json::<Sample>::from_request(request(" [[]]"), &()).await;
        assert_eq!(outcome.unwrap_err().errors[0].detail, "must be an object");
        let outcome = Json::<Sample>::from_request(request("{\"outer\": []}"), &()).await;
        assert!(outcome.is_ok());
    }

    #[tokio::test]
    async fn without_a_body_what_is_missing_is_named() {
        async fn send<T: DeserializeOwned>(kind: Option<&str>, text: &'static str) -> Problem {
            let mut request = Request::builder();
            if let Some(kind) = kind {
                request = request.header(header::CONTENT_TYPE, kind);
            }
            let request = request.body(axum::body::Body::from(text)).unwrap();
            let outcome = Json::<T>::from_request(request, &()).await;
            outcome.map(drop).unwrap_err()
        }
        let problem = send::<Sample>(None, "").await;
        assert_eq!(problem.kind.code, "invalid_body");
        assert_eq!(problem.errors[0].pointer.as_deref(), Some("/outer"));
        for problem in [
            send::<Sample>(None, "{}").await,
            send::<Sample>(Some("text/plain"), "").await,
            // A body that need not have anything in it is asked for all the same.
            send::<Patch>(None, "").await,
        ] {
            assert_eq!(problem.kind.code, "unsupported_media_type");
        }
    }
}
