//! Sends requests with the access token of the session, and retries those that are safe to
//! retry.
//!
//! ```text
//! attempt ──> response ──┬─ 401: renew the token once, attempt again
//!     ^                  ├─ transient, safe to retry: pause ──┐
//!     └──────────────────┼────────────────────────────────────┘
//!                        └─ anything else: returned
//! ```
//!
//! A request whose response was lost may have been carried out. Only operations that can be
//! repeated without a second effect are sent again then.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use progenitor_client::{ClientHooks, ClientInfo, OperationInfo};
use serde_json::json;

use crate::error::LOCAL_FAILURE;
use crate::generated::{api, table};
use crate::problem::{self, ProblemCode};
use crate::retry::{Repeat, RetryPolicy};
use crate::secret::Secret;
use crate::sender::{Response, Sender};
use crate::session::{Keeper, TokenError};

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// POSTs that are safe to retry without a key: completing a ready upload changes nothing.
const REPEATABLE: [&str; 1] = ["complete_upload"];

/// Sends every operation. Clones share connections and session.
#[derive(Clone)]
pub struct Transport {
    pub(crate) sender: Sender,
    pub(crate) keeper: Keeper,
    pub(crate) retry: Arc<RetryPolicy>,
}

/// A request and how it may be sent.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: reqwest::Request,
    pub(crate) repeat: Repeat,
    /// Whether to add the access token of the session.
    pub(crate) with_token: bool,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("base", &self.sender.base)
            .finish_non_exhaustive()
    }
}

impl Transport {
    /// Sends a call until there is a response to return.
    pub(crate) async fn execute(&self, call: &Call) -> Result<Response, TokenError> {
        let mut attempt = 0;
        let mut lost = false;
        loop {
            attempt += 1;
            let mut outcome = self.with_token(call).await?;
            let pause = match &mut outcome {
                Ok(response) => {
                    response.after_loss = lost;
                    if is_done(call, response) {
                        return Ok(Response::no_content());
                    }
                    may_repeat(call, response)
                        .then(|| self.retry.pause(attempt, response.retry_after()))
                        .flatten()
                }
                Err(error) => {
                    let unsent = error.is_connect();
                    lost |= !unsent;
                    (unsent || call.repeat == Repeat::Always)
                        .then(|| self.retry.pause(attempt, None))
                        .flatten()
                }
            };
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return outcome.map_err(TokenError::Transport),
            }
        }
    }

    /// Sends it once, or twice if the token was expired.
    async fn with_token(&self, call: &Call) -> Result<reqwest::Result<Response>, TokenError> {
        if !call.with_token {
            return Ok(self.sender.send(call.copy(None)).await);
        }
        let Some(token) = self.keeper.token(&self.sender).await? else {
            return Ok(self.sender.send(call.copy(None)).await);
        };
        let outcome = self.sender.send(call.copy(Some(&token))).await;
        match &outcome {
            Ok(response) if response.status == StatusCode::UNAUTHORIZED => {}
            _ => return Ok(outcome),
        }
        match self.keeper.successor(&token, &self.sender).await? {
            Some(token) => Ok(self.sender.send(call.copy(Some(&token))).await),
            None => Ok(outcome),
        }
    }
}

impl Call {
    /// A call of an operation of the document.
    fn of(mut request: reqwest::Request, operation: &str) -> Self {
        let keyed = table::KEYED.contains(&operation);
        let headers = request.headers_mut();
        // The version of the document, which the server does not need.
        headers.remove("api-version");
        if keyed && !headers.contains_key(&IDEMPOTENCY_KEY) {
            headers.insert(&IDEMPOTENCY_KEY, new_key());
        }
        let idempotent = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::PUT | Method::DELETE
        );
        let repeat = if idempotent || keyed || REPEATABLE.contains(&operation) {
            Repeat::Always
        } else {
            Repeat::UnlessSent
        };
        Self {
            request,
            repeat,
            with_token: !table::PUBLIC.contains(&operation),
        }
    }

    fn copy(&self, token: Option<&Secret>) -> reqwest::Request {
        let copy = self.request.try_clone();
        let mut copy = copy.expect("bodies of operations are in memory");
        if let Some(token) = token {
            // A token that is not a valid header value is omitted, and the server returns 401.
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
            if let Ok(mut value) = value {
                value.set_sensitive(true);
                copy.headers_mut().insert(header::AUTHORIZATION, value);
            }
        }
        copy
    }
}

fn new_key() -> HeaderValue {
    let key = uuid::Uuid::new_v4().to_string();
    HeaderValue::try_from(key).expect("an id is ASCII")
}

/// Whether to send the call again after this response.
fn may_repeat(call: &Call, response: &Response) -> bool {
    match response.status {
        // The server has not carried it out.
        StatusCode::TOO_MANY_REQUESTS => true,
        // The first attempt, whose response was lost, is still in flight.
        StatusCode::CONFLICT => {
            call.request.headers().contains_key(&IDEMPOTENCY_KEY)
                && response.has_code(ProblemCode::RequestInFlight)
        }
        _ => call.repeat == Repeat::Always && response.is_transient(),
    }
}

/// A deletion whose response was lost finds nothing when it is retried.
fn is_done(call: &Call, response: &Response) -> bool {
    response.after_loss
        && call.request.method() == Method::DELETE
        && response.status == StatusCode::NOT_FOUND
}

impl ClientHooks<Transport> for api::Client {
    async fn exec(
        &self,
        request: reqwest::Request,
        info: &OperationInfo,
    ) -> reqwest::Result<reqwest::Response> {
        let call = Call::of(request, info.operation_id);
        match self.inner().execute(&call).await {
            Ok(response) | Err(TokenError::Refused(response)) => Ok(readable(response).into()),
            Err(TokenError::Transport(error)) => Err(error),
            Err(TokenError::Store(error)) => Ok(local_failure(&error).into()),
        }
    }
}

/// Replaces error bodies that are not problems, such as those of proxies.
fn readable(mut response: Response) -> Response {
    let refused = response.status.is_client_error() || response.status.is_server_error();
    if refused && serde_json::from_slice::<problem::ProblemBody>(&response.body).is_err() {
        response.body = Bytes::from_static(b"{}");
    }
    response
}

/// A response that carries a local failure: generated code has no other way to return it.
fn local_failure(error: &std::io::Error) -> Response {
    Response {
        status: StatusCode::from_u16(LOCAL_FAILURE).expect("599 is a status"),
        headers: HeaderMap::new(),
        body: json!({ "title": error.to_string() }).to_string().into(),
        after_loss: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: Method, operation: &str) -> Call {
        let url = "http://localhost/".parse().unwrap();
        Call::of(reqwest::Request::new(method, url), operation)
    }

    fn response(status: u16, body: &'static str) -> Response {
        Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
            after_loss: false,
        }
    }

    #[test]
    fn only_safe_requests_are_retried() {
        let busy = response(503, "");
        assert!(may_repeat(&call(Method::GET, "get_me"), &busy));
        assert!(may_repeat(&call(Method::POST, "presign_upload"), &busy));
        assert!(may_repeat(&call(Method::POST, "complete_upload"), &busy));
        assert!(!may_repeat(&call(Method::POST, "create_session"), &busy));
        assert!(!may_repeat(&call(Method::PATCH, "update_me"), &busy));
        assert!(may_repeat(
            &call(Method::PATCH, "update_me"),
            &response(429, "")
        ));
        assert!(!may_repeat(
            &call(Method::GET, "get_me"),
            &response(500, "")
        ));
    }

    #[test]
    fn a_keyed_request_is_retried_while_the_first_is_in_flight() {
        let running = response(409, r#"{"code": "request_in_flight"}"#);
        let taken = response(409, r#"{"code": "email_taken"}"#);
        let keyed = call(Method::POST, "create_user");
        assert!(may_repeat(&keyed, &running));
        assert!(!may_repeat(&keyed, &taken));
        assert!(!may_repeat(&call(Method::PATCH, "update_me"), &running));
    }

    #[test]
    fn retries_use_the_same_idempotency_key() {
        let call = call(Method::POST, "create_user");
        let key = |request: reqwest::Request| request.headers()[&IDEMPOTENCY_KEY].clone();
        assert_eq!(key(call.copy(None)), key(call.copy(None)));
        let own = |name: &str| {
            let url = "http://localhost/".parse().unwrap();
            let mut request = reqwest::Request::new(Method::POST, url);
            let value = HeaderValue::from_str(name).unwrap();
            request.headers_mut().insert(&IDEMPOTENCY_KEY, value);
            Call::of(request, "create_user").copy(None)
        };
        assert_eq!(key(own("mine")), "mine");
    }

    #[test]
    fn public_operations_send_no_token() {
        assert!(call(Method::GET, "get_me").with_token);
        assert!(!call(Method::POST, "create_session").with_token);
    }
}
