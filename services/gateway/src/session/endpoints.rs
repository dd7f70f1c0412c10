//! The paths of a login.

use std::sync::Arc;

use http::{HeaderName, Method, header};
use quartet_common::problem::Problem;

use super::{
    callback::CallbackQuery,
    exchange::{json, unavailable},
    failure::LoginFailure,
    login::{Login, redirect},
    navigation::{Visit, visit},
    oauth2_proxy::proxy_target,
    pages,
};
use crate::{
    error,
    reply::{GatewayResponse, Reply},
    request::RequestFacts,
};

static CSRF: HeaderName = HeaderName::from_static("x-csrf-token");
static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const OAUTH2_PROXY: &str = "/oauth2/";

/// A request for a page of a login, with its whole body.
#[derive(Clone, Copy)]
pub(crate) struct PageRequest<'r> {
    pub(crate) facts: RequestFacts<'r>,
    /// Without its question mark.
    pub(crate) query: &'r str,
    pub(crate) body: &'r [u8],
}

type Answer = Result<Box<GatewayResponse>, Problem>;

impl PageRequest<'_> {
    /// A parameter of the query; of several, the first.
    fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        let found = pairs.find(|(other, _)| other == name);
        found.map(|(_, value)| value.into_owned())
    }

    fn target(&self) -> Option<String> {
        self.parameter("return_to").or_else(|| self.parameter("rd"))
    }

    fn is_read(&self) -> bool {
        [Method::GET, Method::HEAD].contains(self.facts.method)
    }
}

impl Login {
    /// The response to a request for one of its pages.
    pub(crate) async fn respond(
        self: &Arc<Self>,
        request: PageRequest<'_>,
    ) -> Box<GatewayResponse> {
        let path = request.facts.path;
        let answer = match path.strip_prefix(&*self.config.path) {
            Some(page) if page.starts_with('/') => self.page(&page[1..], request).await,
            _ => match path.strip_prefix(OAUTH2_PROXY) {
                Some(page) if self.config.oauth2_proxy_paths => {
                    self.proxy_page(page, request).await
                }
                _ => Err(error::no_route()),
            },
        };
        answer.unwrap_or_else(Into::into)
    }

    async fn page(self: &Arc<Self>, page: &str, request: PageRequest<'_>) -> Answer {
        let method = request.facts.method;
        let is_core = self.config.is_core();
        match page {
            "session" => return self.session(request).await,
            "logged_out" if request.is_read() => {
                return Ok(reply(pages::logged_out(&self.login_link("/"))));
            }
            "logout" if request.is_read() || *method == Method::POST => {
                return self.logout_page(request, request.target()).await;
            }
            "login" if request.is_read() => {
                return self.login_page(request, request.target()).await;
            }
            "callback" if request.is_read() && !is_core => {
                return Ok(self.callback_page(request).await);
            }
            "backchannel" if *method == Method::POST && !is_core => {
                return Ok(reply(self.back_channel_logout(request.body).await));
            }
            _ => {}
        }
        let allowed: &[Method] = match page {
            "logged_out" | "login" | "callback" => &[Method::GET],
            "logout" => &[Method::GET, Method::POST],
            "backchannel" if !is_core => &[Method::POST],
            _ => return Err(error::no_route()),
        };
        Err(error::method_not_allowed(allowed))
    }

    async fn proxy_page(self: &Arc<Self>, page: &str, request: PageRequest<'_>) -> Answer {
        let facts = &request.facts;
        match page {
            "auth" => self.proxy_auth(facts, request.query).await.map(reply),
            "userinfo" if request.is_read() => self.proxy_userinfo(facts).await.map(reply),
            "sign_in" | "start" if request.is_read() => {
                let target = proxy_target(facts, request.target());
                self.login_page(request, target).await
            }
            "callback" if request.is_read() => Ok(self.callback_page(request).await),
            "sign_out" if request.is_read() || *facts.method == Method::POST => {
                let target = proxy_target(facts, request.target());
                self.logout_page(request, target).await
            }
            "userinfo" | "sign_in" | "start" | "callback" => {
                Err(error::method_not_allowed(&[Method::GET]))
            }
            "sign_out" => Err(error::method_not_allowed(&[Method::GET, Method::POST])),
            _ => Err(error::no_route()),
        }
    }

    async fn callback_page(&self, request: PageRequest<'_>) -> Box<GatewayResponse> {
        let query = CallbackQuery::parse(request.query);
        self.callback(query, request.facts.headers).await
    }

    /// Begins a login, unless there is a session already and no other account is asked for.
    async fn login_page(
        self: &Arc<Self>,
        request: PageRequest<'_>,
        target: Option<String>,
    ) -> Answer {
        let headers = request.facts.headers;
        let target = self.targets().or_front(target.as_deref());
        let switches = request.parameter("switch").is_some();
        if !switches {
            match self.stored(headers).await {
                Ok(Some(_)) => return Ok(reply(redirect(&target))),
                Ok(None) => {}
                Err(away) => return Ok(self.failed(away.into(), &target, headers).await),
            }
        }
        if self.config.is_core() {
            let page = self.core_page(&target).ok_or_else(error::no_route)?;
            return Ok(reply(redirect(&page)));
        }
        Ok(
            match self
                .begin(&request.facts, target.clone(), switches.then_some("login"))
                .await
            {
                Ok(begun) => reply(begun),
                Err(failure) => self.failed(failure, &target, headers).await,
            },
        )
    }

    /// The page on which people log in at core.
    fn core_page(&self, target: &str) -> Option<String> {
        let page = self.config.provider.login_page.as_deref()?;
        let target: String = url::form_urlencoded::byte_serialize(target.as_bytes()).collect();
        let separator = if page.contains('?') { '&' } else { '?' };
        Some(format!("{page}{separator}return_to={target}"))
    }

    /// Other sites can lead here, but not log anyone out.
    async fn logout_page(
        self: &Arc<Self>,
        request: PageRequest<'_>,
        target: Option<String>,
    ) -> Answer {
        let facts = &request.facts;
        let site = facts.headers.first(&FETCH_SITE);
        let is_led = matches!(site, Some(b"cross-site"));
        if request.is_read() && is_led {
            let action = self.link("logout", target.as_deref().unwrap_or_default());
            return Ok(reply(pages::confirm_logout(&action)));
        }
        if !request.is_read() && !facts.is_same_origin() {
            return Err(error::cross_site_request());
        }
        Ok(match self.log_out(facts.headers, target.as_deref()).await {
            Ok(out) => reply(out),
            Err(failure) => {
                // The session may still be there, and so must be its cookie.
                let again = self.link("logout", target.as_deref().unwrap_or_default());
                pages::failure(failure, again, Vec::new())
            }
        })
    }

    /// What pages know, and do, about their own session.
    async fn session(self: &Arc<Self>, request: PageRequest<'_>) -> Answer {
        let facts = &request.facts;
        match *facts.method {
            Method::GET | Method::HEAD => {
                let session = self.current(facts.headers).await?;
                Ok(reply(self.describe(&session)))
            }
            Method::POST if self.config.is_core() => {
                self.exchange(facts, request.body).await.map(reply)
            }
            Method::DELETE => self.end_session(facts).await.map(reply),
            _ if self.config.is_core() => Err(error::method_not_allowed(&[
                Method::GET,
                Method::POST,
                Method::DELETE,
            ])),
            _ => Err(error::method_not_allowed(&[Method::GET, Method::DELETE])),
        }
    }

    /// 204, or 200 with the page at which the provider ends its session.
    async fn end_session(self: &Arc<Self>, facts: &RequestFacts<'_>) -> Result<Reply, Problem> {
        let stored = self.stored(facts.headers).await.map_err(unavailable)?;
        if let Some(session) = &stored
            && !is_of_page(facts, session)
        {
            return Err(error::cross_site_request());
        }
        let out = self.log_out(facts.headers, None).await;
        let out = out.map_err(LoginFailure::into_problem)?;
        let location = out
            .headers
            .iter()
            .find(|(name, _)| *name == header::LOCATION);
        let location = location.and_then(|(_, url)| url.to_str().ok());
        let location = location.filter(|url| url.contains("://"));
        let body = match location {
            Some(url) => json(&serde_json::json!({ "logout_url": url })),
            None => Reply::no_content(),
        };
        let cookies = out
            .headers
            .iter()
            .filter(|(name, _)| *name == header::SET_COOKIE);
        Ok(cookies.fold(body, |body, (name, value)| {
            body.header(name.clone(), value.clone())
        }))
    }

    /// What a request without a session gets.
    pub(crate) async fn challenge(
        self: &Arc<Self>,
        facts: &RequestFacts<'_>,
    ) -> Box<GatewayResponse> {
        let target = String::from_utf8_lossy(facts.asked);
        let target = self.targets().or_front(Some(&target));
        match visit(facts) {
            Visit::Program => return error::login_required().into(),
            Visit::Form => return reply(pages::form_expired(&self.login_link("/"))),
            Visit::Page => {}
        }
        if self.config.is_core() {
            return match self.core_page(&target) {
                Some(page) => reply(redirect(&page)),
                None => error::login_required().into(),
            };
        }
        match self.begin(facts, target.clone(), None).await {
            Ok(begun) => reply(begun),
            Err(failure) => self.failed(failure, &target, facts.headers).await,
        }
    }

    /// What a request gets whose session cannot be looked up, or is of no use at the moment.
    pub(crate) fn refuse(
        &self,
        failure: LoginFailure,
        facts: &RequestFacts<'_>,
    ) -> Box<GatewayResponse> {
        if visit(facts) == Visit::Program {
            return failure.into_problem().into();
        }
        // The session may still be there, and so must be its cookie. A link to the page itself: another login
        // would not help.
        let target = String::from_utf8_lossy(facts.asked);
        let again = self.targets().or_front(Some(&target));
        pages::failure(failure, again, Vec::new())
    }
}

/// Whether a request that changes something comes from a page of this host, and not from another site
/// that uses the cookie of its visitor: by what the browser says, or the token of the session.
pub(crate) fn is_of_page(facts: &RequestFacts<'_>, session: &super::Session) -> bool {
    let says = |name: &HeaderName| facts.headers.first(name).is_some();
    if says(&FETCH_SITE) || says(&header::ORIGIN) {
        return facts.is_same_origin();
    }
    let sent = facts.headers.first(&CSRF);
    let is_only = facts.headers.nth(&CSRF, 1).is_none();
    is_only && sent.is_some_and(|sent| session.has_csrf_token(sent))
}

fn reply(reply: Reply) -> Box<GatewayResponse> {
    Box::new(GatewayResponse::Reply(reply))
}
