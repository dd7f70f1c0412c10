//! Asks an external service whether a request may pass, as Traefik's `ForwardAuth` and nginx's
//! `auth_request` do.
//!
//! | the service answers | what happens |
//! |---|---|
//! | 2xx | the request is forwarded, with the headers of the answer that are listed |
//! | 401, and a browser opens a page, and there is a `login_url` | the client is sent there |
//! | 401, 403, 301, 302, 303, 307, 308 | the client gets that, with its body if it is not too long |
//! | anything else, nothing in time, not at all | 503: what is not allowed is refused |
//!
//! It gets method, URI, host and client of the request in headers, and no body. A header that it may
//! set is never one that the client has sent.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use quartet_common::problem::Problem;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    context::{Edit, Flow, PolicyContext, ResponseHead, Verdict},
    headers::{Origin, forwarded_headers},
    login::LoginCookies,
};
use crate::{
    error,
    reply::{GatewayResponse, Reply},
    request::{Headers, LeftCookies, RequestFacts},
    response_body::{BodyError, read_body},
    routing::ForwardAuth,
    session::{Visit, visit},
};

static METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
static URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
static ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
static ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");

/// What a client gets of a refusal beside status and body.
static OF_REFUSAL: [HeaderName; 7] = [
    header::LOCATION,
    header::WWW_AUTHENTICATE,
    header::SET_COOKIE,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CACHE_CONTROL,
];

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Idle connections that are kept, per service.
const MAX_IDLE: usize = 64;

/// One for all routes and configurations, so that a reload keeps the connections.
static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE)
        .no_proxy()
        .build();
    client.expect("a client with default TLS settings can be built")
});

/// Why there is no decision.
#[derive(Debug, thiserror::Error)]
enum NoDecision {
    #[error("the service that decides about the request did not answer in time")]
    TimedOut,
    #[error("too many requests wait for the service that decides about them")]
    Overloaded,
    #[error("the service that decides about the request answered {0}")]
    Status(StatusCode),
    #[error("the service that decides about the request cannot be asked: {0}")]
    Failed(#[from] reqwest::Error),
}

impl From<NoDecision> for Problem {
    fn from(cause: NoDecision) -> Self {
        error::authorization_unavailable(cause)
    }
}

#[derive(Debug)]
pub(super) struct ExternalAuth {
    settings: Arc<ForwardAuth>,
    /// The service does not get them, as no upstream does.
    login_cookies: Option<LoginCookies>,
    in_flight: Semaphore,
}

/// What the service has decided.
enum Decision {
    Pass(HeaderMap),
    Refuse(Reply),
}

impl ExternalAuth {
    pub(super) fn new(settings: &Arc<ForwardAuth>, login_cookies: Option<LoginCookies>) -> Self {
        Self {
            login_cookies,
            in_flight: Semaphore::new(settings.max_in_flight),
            settings: Arc::clone(settings),
        }
    }

    pub(super) fn on_request<'f>(
        &'f self,
        facts: &'f RequestFacts<'_>,
        context: &'f mut PolicyContext,
    ) -> Verdict<'f> {
        Verdict::Later(Box::pin(async move {
            match self.decide(facts).await {
                Ok(Decision::Pass(answer)) => {
                    self.pass(&answer, context);
                    Flow::Continue
                }
                Ok(Decision::Refuse(reply)) => Flow::Reply(Box::new(GatewayResponse::Reply(reply))),
                Err(cause) => Flow::Reply(Problem::from(cause).into()),
            }
        }))
    }

    /// What the service has set for the client, such as a session that it has renewed.
    pub(super) fn on_response(context: &PolicyContext, response: &mut dyn ResponseHead) {
        if !response.status().is_informational() {
            for (name, value) in &context.client_headers {
                response.append(name.clone(), value.clone());
            }
        }
    }

    async fn decide(&self, facts: &RequestFacts<'_>) -> Result<Decision, NoDecision> {
        let permit = self.in_flight.try_acquire();
        let _permit = permit.map_err(|_| NoDecision::Overloaded)?;
        let decided = timeout(self.settings.timeout, self.ask(facts)).await;
        decided.unwrap_or(Err(NoDecision::TimedOut))
    }

    async fn ask(&self, facts: &RequestFacts<'_>) -> Result<Decision, NoDecision> {
        let request = CLIENT.get(&self.settings.url).headers(self.question(facts));
        let mut answer = request.send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(Decision::Pass(std::mem::take(answer.headers_mut())));
        }
        let is_refusal = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308 | 401 | 403);
        if !is_refusal {
            return Err(NoDecision::Status(status));
        }
        let headers = std::mem::take(answer.headers_mut());
        if status == StatusCode::UNAUTHORIZED
            && let Some(location) = self.login_page(facts)
        {
            return Ok(Decision::Refuse(to_login(location, &headers)));
        }
        let body = match read_body(answer, self.settings.max_body_bytes).await {
            Ok(body) => Some(body.into()),
            Err(BodyError::TooLong(_)) => None,
            Err(BodyError::Broken(error)) => return Err(error.into()),
        };
        Ok(Decision::Refuse(refusal(status, &headers, body)))
    }

    /// Where people log in, who can then come back to the page that they have opened. Programs could do
    /// nothing with it.
    fn login_page(&self, facts: &RequestFacts<'_>) -> Option<HeaderValue> {
        let url = self.settings.login_url.as_ref()?;
        if visit(facts) != Visit::Page {
            return None;
        }
        let reported = facts.reported_host.map(str::as_bytes);
        let page = url_of(facts, reported.or(facts.host)?);
        let page: String = url::form_urlencoded::byte_serialize(&page).collect();
        HeaderValue::try_from(url.replace("{url}", &page)).ok()
    }

    /// The headers that the service gets.
    fn question(&self, facts: &RequestFacts<'_>) -> HeaderMap {
        let mut question = facts.headers.only(&self.settings.request_headers);
        if let Some(own) = &self.login_cookies {
            let sent: &dyn Headers = &question;
            match own.left(sent.all(header::COOKIE)) {
                LeftCookies::All => {}
                LeftCookies::Some(value) => drop(question.insert(header::COOKIE, value)),
                LeftCookies::None => drop(question.remove(header::COOKIE)),
            }
        }
        let client = facts.client_ip.to_string();
        let reported = facts.reported_host.map(str::as_bytes);
        let origin = Origin {
            client: &client,
            is_secure: facts.is_secure,
            host: reported.or(facts.host),
            sends_forwarded: false,
        };
        let mut put = |name: &HeaderName, value: &[u8]| {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                question.insert(name.clone(), value);
            }
        };
        let mut host = None;
        for (name, value) in forwarded_headers(origin) {
            let Some(value) = value else { continue };
            put(name, &value);
            if name.as_str() == "x-forwarded-host" {
                host = Some(value);
            }
        }
        let method = facts.method.as_str().as_bytes();
        put(&METHOD, method);
        put(&ORIGINAL_METHOD, method);
        put(&URI, facts.asked);
        if let Some(host) = host {
            put(&ORIGINAL_URL, &url_of(facts, &host));
        }
        question
    }

    fn pass(&self, answer: &HeaderMap, context: &mut PolicyContext) {
        for name in &self.settings.response_headers {
            let mut values = answer.get_all(name).iter();
            context.edits.push(match values.next() {
                Some(value) => Edit::Set(name.clone(), value.clone()),
                None => Edit::Remove(name.clone()),
            });
            let more = values.map(|value| Edit::Add(name.clone(), value.clone()));
            context.edits.extend(more);
        }
        for name in &self.settings.client_headers {
            let values = answer.get_all(name).iter();
            let values = values.map(|value| (name.clone(), value.clone()));
            context.client_headers.extend(values);
        }
    }
}

/// The URL that the client has asked for.
fn url_of(facts: &RequestFacts<'_>, host: &[u8]) -> Vec<u8> {
    let scheme: &[u8] = if facts.is_secure {
        b"https://"
    } else {
        b"http://"
    };
    [scheme, host, facts.asked].concat()
}

/// With the cookies of the service, by which it recognizes the browser after the login.
fn to_login(location: HeaderValue, headers: &HeaderMap) -> Reply {
    let mut reply = Reply::no_content()
        .status(StatusCode::FOUND)
        .header(header::LOCATION, location)
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let cookies = headers.get_all(header::SET_COOKIE).iter();
    let cookies = cookies.map(|value| (header::SET_COOKIE, value.clone()));
    reply.headers.extend(cookies);
    reply
}

/// The response to the client. It is about this request alone.
fn refusal(status: StatusCode, headers: &HeaderMap, body: Option<Bytes>) -> Reply {
    let (body, has_body) = match body {
        Some(body) => (body, true),
        None => (Bytes::new(), false),
    };
    let mut reply = Reply::ok(HeaderValue::from_static("text/plain"), body).status(status);
    reply.headers.clear();
    let is_of_body = |name: &HeaderName| {
        [
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::CONTENT_LANGUAGE,
        ]
        .contains(name)
    };
    for name in OF_REFUSAL
        .iter()
        .filter(|name| has_body || !is_of_body(name))
    {
        let values = headers.get_all(name).iter();
        let values = values.map(|value| (name.clone(), value.clone()));
        reply.headers.extend(values);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        let no_store = HeaderValue::from_static("no-store");
        reply = reply.header(header::CACHE_CONTROL, no_store);
    }
    reply
}
