//! Sends requests: with the session's token, again where that is harmless, with answers that
//! are read to their end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use progenitor_client::{ClientHooks, ClientInfo, OperationInfo};
use serde_json::json;

use crate::error::OWN_STATUS;
use crate::generated::{api, table};
use crate::problem::{self, Problem, ProblemCode};
use crate::retry::{Repeat, RetryPolicy};
use crate::secret::Secret;
use crate::session::{Keeper, NoToken};

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// POSTs that may be done again without a key: completing a ready upload changes nothing.
const REPEATABLE: [&str; 1] = ["complete_upload"];

/// What every operation is sent through. Clones share connections and session.
#[derive(Clone)]
pub struct Transport {
    pub(crate) sender: Sender,
    pub(crate) keeper: Keeper,
    pub(crate) retry: Arc<RetryPolicy>,
}

/// Sends one request once.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether an earlier attempt was sent whose answer did not arrive.
    pub(crate) after_loss: bool,
}

/// A request and what may be done with it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: reqwest::Request,
    pub(crate) repeat: Repeat,
    /// Whether the session's token goes with it.
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
    /// Sends a call until it has an answer that is worth giving back.
    pub(crate) async fn execute(&self, call: &Call) -> Result<Answer, NoToken> {
        let mut attempt = 0;
        let mut lost = false;
        loop {
            attempt += 1;
            let mut outcome = self.with_token(call).await?;
            let pause = match &mut outcome {
                Ok(answer) => {
                    answer.after_loss = lost;
                    if is_done(call, answer) {
                        return Ok(Answer::no_content());
                    }
                    may_repeat(call, answer)
                        .then(|| self.retry.pause(attempt, answer.retry_after()))
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
                None => return outcome.map_err(NoToken::Transport),
            }
        }
    }

    /// Sends it once; a second time if only the token was too old.
    async fn with_token(&self, call: &Call) -> Result<reqwest::Result<Answer>, NoToken> {
        if !call.with_token {
            return Ok(self.sender.send(call.copy(None)).await);
        }
        let Some(token) = self.keeper.token(&self.sender).await? else {
            return Ok(self.sender.send(call.copy(None)).await);
        };
        let outcome = self.sender.send(call.copy(Some(&token))).await;
        match &outcome {
            Ok(answer) if answer.status == StatusCode::UNAUTHORIZED => {}
            _ => return Ok(outcome),
        }
        match self.keeper.successor(&token, &self.sender).await? {
            Some(token) => Ok(self.sender.send(call.copy(Some(&token))).await),
            None => Ok(outcome),
        }
    }
}

impl Sender {
    pub(crate) async fn send(&self, request: reqwest::Request) -> reqwest::Result<Answer> {
        let response = self.http.execute(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        // Read here, so that a connection that breaks meanwhile counts as no answer.
        let body = response.bytes().await?;
        Ok(Answer {
            status,
            headers,
            body,
            after_loss: false,
        })
    }

    /// Trades a refresh token.
    pub(crate) async fn refresh(&self, token: &Secret) -> reqwest::Result<Answer> {
        let url = format!("{}/v1/core/sessions/refresh", self.base);
        let body = json!({ "refresh_token": token });
        self.send(self.http.post(url).json(&body).build()?).await
    }
}

impl Answer {
    fn no_content() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            after_loss: true,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        problem::retry_after(&self.headers, std::time::SystemTime::now())
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.status.as_u16(), 408 | 429 | 502 | 503 | 504)
    }

    pub(crate) fn problem(&self) -> Problem {
        Problem::read(&self.body, self.status.as_u16(), &self.headers)
    }

    fn has_code(&self, code: ProblemCode) -> bool {
        self.problem().code == code
    }
}

impl Call {
    /// A call of an operation of the document.
    fn of(mut request: reqwest::Request, operation: &str) -> Self {
        let keyed = table::KEYED.contains(&operation);
        let headers = request.headers_mut();
        // The document's version, which the server does not ask for.
        headers.remove("api-version");
        if keyed && !headers.contains_key(&IDEMPOTENCY_KEY) {
            headers.insert(&IDEMPOTENCY_KEY, new_key());
        }
        let harmless = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::PUT | Method::DELETE
        );
        let repeat = if harmless || keyed || REPEATABLE.contains(&operation) {
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
            // A token that is no header value is refused by the server like any other wrong one.
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

/// Whether the answer invites to try the same again.
fn may_repeat(call: &Call, answer: &Answer) -> bool {
    match answer.status {
        // It says that nothing was done.
        StatusCode::TOO_MANY_REQUESTS => true,
        // The first attempt, whose answer was lost, still runs.
        StatusCode::CONFLICT => {
            call.request.headers().contains_key(&IDEMPOTENCY_KEY)
                && answer.has_code(ProblemCode::RequestInFlight)
        }
        _ => call.repeat == Repeat::Always && answer.is_passing(),
    }
}

/// A deletion whose answer was lost finds nothing when it is repeated.
fn is_done(call: &Call, answer: &Answer) -> bool {
    answer.after_loss
        && call.request.method() == Method::DELETE
        && answer.status == StatusCode::NOT_FOUND
}

impl From<Answer> for reqwest::Response {
    fn from(answer: Answer) -> Self {
        let mut response = http::Response::new(answer.body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response.into()
    }
}

impl ClientHooks<Transport> for api::Client {
    async fn exec(
        &self,
        request: reqwest::Request,
        info: &OperationInfo,
    ) -> reqwest::Result<reqwest::Response> {
        let call = Call::of(request, info.operation_id);
        match self.inner().execute(&call).await {
            Ok(answer) | Err(NoToken::Refused(answer)) => Ok(readable(answer).into()),
            Err(NoToken::Transport(error)) => Err(error),
            Err(NoToken::Store(error)) => Ok(own(&error).into()),
        }
    }
}

/// Makes of every refusal one that can be read: proxies answer in their own words.
fn readable(mut answer: Answer) -> Answer {
    let refused = answer.status.is_client_error() || answer.status.is_server_error();
    if refused && serde_json::from_slice::<problem::ProblemBody>(&answer.body).is_err() {
        answer.body = Bytes::from_static(b"{}");
    }
    answer
}

/// An answer that tells of a failure here: generated code has no other way to pass it on.
fn own(error: &std::io::Error) -> Answer {
    Answer {
        status: StatusCode::from_u16(OWN_STATUS).expect("599 is a status"),
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

    fn answer(status: u16, body: &'static str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
            after_loss: false,
        }
    }

    #[test]
    fn only_what_is_harmless_is_repeated() {
        let busy = answer(503, "");
        assert!(may_repeat(&call(Method::GET, "get_me"), &busy));
        assert!(may_repeat(&call(Method::POST, "presign_upload"), &busy));
        assert!(may_repeat(&call(Method::POST, "complete_upload"), &busy));
        assert!(!may_repeat(&call(Method::POST, "create_session"), &busy));
        assert!(!may_repeat(&call(Method::PATCH, "update_me"), &busy));
        assert!(may_repeat(
            &call(Method::PATCH, "update_me"),
            &answer(429, "")
        ));
        assert!(!may_repeat(&call(Method::GET, "get_me"), &answer(500, "")));
    }

    #[test]
    fn the_first_attempt_may_still_run() {
        let running = answer(409, r#"{"code": "request_in_flight"}"#);
        let taken = answer(409, r#"{"code": "email_taken"}"#);
        let keyed = call(Method::POST, "create_user");
        assert!(may_repeat(&keyed, &running));
        assert!(!may_repeat(&keyed, &taken));
        assert!(!may_repeat(&call(Method::PATCH, "update_me"), &running));
    }

    #[test]
    fn a_key_is_made_once_and_kept() {
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
    fn tokens_go_only_where_they_are_needed() {
        assert!(call(Method::GET, "get_me").with_token);
        assert!(!call(Method::POST, "create_session").with_token);
    }
}
