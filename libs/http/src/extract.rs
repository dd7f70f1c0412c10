//! axum's extractors, with [`Problem`]s as rejections that name the field and the rule.
//!
//! Messages of serde quote the invalid value, which may be a secret; only what was expected is
//! passed on.

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
use quartet_common::problem::{FieldError, Problem, kinds};
use serde::{
    Deserializer, Serialize,
    de::{DeserializeOwned, Unexpected, Visitor},
};

pub use crate::etags::{IfMatch, IfNoneMatch};
use crate::layers::{BodyTimeout, ClientIp};

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
        let limit = request
            .extensions()
            .get::<BodyTimeout>()
            .map_or(Duration::from_secs(10), |t| t.0);
        let reading = Bytes::from_request(request, state);
        match tokio::time::timeout(limit, reading).await {
            Ok(Ok(bytes)) => Ok(Self(bytes)),
            Ok(Err(rejection)) => Err(body_problem(rejection)),
            Err(_) => Err(Problem::new(&kinds::REQUEST_TIMEOUT)
                .detail(format!("the body must arrive within {} s", limit.as_secs()))),
        }
    }
}

fn body_problem(rejection: BytesRejection) -> Problem {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Problem::new(&kinds::BODY_TOO_LARGE)
        }
        other => Problem::new(&kinds::INCOMPLETE_BODY).source(other),
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let Body(bytes) = Body::from_request(request, state).await?;
        refuse_array(&bytes)?;
        from_json(&bytes).map(Self)
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

/// Parses JSON; an invalid field is reported by its pointer.
///
/// # Errors
/// 400 `malformed_json` with line and column; 422 `invalid_body` with the pointer.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let mut pointer = pointer_of(error.path());
        let inner = error.into_inner();
        if !inner.is_data() {
            return malformed(&inner);
        }
        let text = inner.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        let field = match Named::parse(text) {
            // Its object is at fault for serde; the member is, for who reads the pointer.
            Some(Named { name, code, rule }) => {
                let member = escape(name);
                if code == "missing" || !pointer.ends_with(&member) {
                    pointer.push_str(&member);
                }
                FieldError::body(pointer, code, rule)
            }
            None => FieldError::body(pointer, "invalid_value", rule_of(text)),
        };
        Problem::invalid(vec![field])
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
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

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(&kinds::MALFORMED_JSON).detail(format!(
        "syntax error or early end at line {} column {}",
        error.line(),
        error.column()
    ))
}

/// A member that a message of serde names.
struct Named<'a> {
    name: &'a str,
    code: &'static str,
    rule: String,
}

impl<'a> Named<'a> {
    fn parse(message: &'a str) -> Option<Self> {
        for (start, code, rule) in [
            ("missing field `", "missing", "is required"),
            ("duplicate field `", "duplicate", "must not be repeated"),
            ("unknown field `", "unknown", "must not be present"),
        ] {
            let Some((name, rest)) = message.strip_prefix(start).and_then(|m| m.split_once('`'))
            else {
                continue;
            };
            let rule = match rest.split_once(", expected ") {
                Some((_, known)) => format!("{rule}: expected {known}"),
                None => rule.to_owned(),
            };
            return Some(Self { name, code, rule });
        }
        None
    }
}

/// The message of serde without the quoted value, which may be a secret.
fn rule_of(text: &str) -> String {
    if text.starts_with("unknown variant") {
        return text.to_owned();
    }
    match text.split_once(", expected ") {
        Some((_, expected)) if text.starts_with("invalid ") => format!("must be {expected}"),
        _ => text.to_owned(),
    }
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => escape(key),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}

/// One token of a JSON pointer (RFC 6901).
fn escape(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
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
            Problem::invalid_parameter(key, "invalid_value", message)
        }
        ErrorKind::ParseErrorAtKey {
            key, expected_type, ..
        } => Problem::invalid_parameter(key, "invalid_value", format!("must be {expected_type}")),
        ErrorKind::InvalidUtf8InPathParam { key } => {
            Problem::invalid_parameter(key, "invalid_utf8", "must be UTF-8")
        }
        ErrorKind::Message(message) => Problem::invalid_parameter(only, "invalid_value", message),
        _ => Problem::invalid_parameter("path", "invalid_value", failed.body_text()),
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let text = serde_urlencoded::Deserializer::new(pairs);
        serde_path_to_error::deserialize(text)
            .map(Self)
            .map_err(|error| {
                let path = error.path().to_string();
                let message = error.into_inner().to_string();
                match Named::parse(&message) {
                    Some(Named { name, code, rule }) => {
                        let code = if code == "unknown" {
                            "unknown_parameter"
                        } else {
                            code
                        };
                        Problem::invalid_parameter(name, code, rule)
                    }
                    None => Problem::invalid_parameter(&path, "invalid_value", message),
                }
            })
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
        outer: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[expect(dead_code, reason = "only parsing is tested")]
        size_bytes: u64,
    }

    fn read(text: &str) -> Problem {
        from_json::<Sample>(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn invalid_fields_are_named_by_pointer_without_their_value() {
        let problem = read(r#"{"outer": [{"size_bytes": 1}, {"size_bytes": "s3cret"}]}"#);
        assert_eq!(problem.kind.code, "invalid_body");
        assert_eq!(
            problem.errors[0].pointer.as_deref(),
            Some("/outer/1/size_bytes")
        );
        assert_eq!(problem.errors[0].detail, "must be u64");
        for (text, pointer, code, rule) in [
            ("{}", "/outer", "missing", "is required"),
            (
                r#"{"outer": [{}]}"#,
                "/outer/0/size_bytes",
                "missing",
                "is required",
            ),
            (
                r#"{"outr": 1}"#,
                "/outr",
                "unknown",
                "must not be present: expected `outer`",
            ),
            (
                r#"{"outer": [], "outer": []}"#,
                "/outer",
                "duplicate",
                "must not be repeated",
            ),
        ] {
            let problem = read(text);
            let error = &problem.errors[0];
            assert_eq!(error.pointer.as_deref(), Some(pointer), "{text}");
            assert_eq!((error.code, error.detail.as_str()), (code, rule), "{text}");
        }
    }

    #[tokio::test]
    async fn a_repeated_query_parameter_is_named() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Page {
            #[expect(dead_code, reason = "only parsing is tested")]
            limit: Option<u32>,
        }
        for (query, name, code) in [
            ("limit=1&limit=2", "limit", "duplicate"),
            ("limit=x", "limit", "invalid_value"),
            ("limt=1", "limt", "unknown_parameter"),
        ] {
            let request = Request::builder().uri(format!("/?{query}"));
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            let outcome = Query::<Page>::from_request_parts(&mut parts, &()).await;
            let error = &outcome.unwrap_err().errors[0];
            assert_eq!(error.parameter.as_deref(), Some(name), "{query}");
            assert_eq!(error.code, code, "{query}");
        }
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

    #[test]
    fn syntax_errors_tell_where() {
        for text in ["", "{", "{} x", "nul"] {
            let problem = from_json::<serde_json::Value>(text.as_bytes()).unwrap_err();
            assert_eq!(problem.kind.code, "malformed_json", "{text}");
            assert!(problem.detail.unwrap().contains("line 1"));
        }
    }
}
