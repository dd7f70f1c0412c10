//! Requires people to be logged in, and says to the upstream who they are.
//!
//! Three steps: [`LoginGuard`] looks the session up before the limits count, so that they count by its user.
//! Only after them does [`challenge`] send a browser to the provider: otherwise flows would be free. Once no
//! step can refuse the request, [`note_use`] lets the idle time of the session begin again.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, header};

use super::{
    access_end::AccessSpan,
    context::{Edit, Flow, PolicyContext, Verdict},
    login_context::{LoginContext, SessionOfRequest},
};
use crate::{
    error,
    request::{LeftCookies, RequestFacts, WebSocket, host::Authority, without_cookies},
    routing::{Auth, HostPattern, Route},
    session::{FoundSession, Login, LoginFailure, Session, is_of_login, is_of_page},
};

/// The logins of a route.
#[derive(Debug)]
pub(super) struct LoginGuard {
    logins: Box<[(Vec<HostPattern>, Arc<Login>)]>,
    auth: Auth,
}

impl LoginGuard {
    /// `None`: the route needs no login.
    pub(super) fn new(route: &Route, logins: &[Arc<Login>]) -> Option<Self> {
        let own = route.logins.iter().filter_map(|own| {
            let login = logins.get(own.index)?;
            Some((own.hosts.clone(), Arc::clone(login)))
        });
        let own: Box<[_]> = own.collect();
        (!own.is_empty()).then_some(Self {
            logins: own,
            auth: route.auth,
        })
    }

    pub(super) fn on_request<'f>(
        &'f self,
        facts: &RequestFacts<'f>,
        context: &'f mut PolicyContext,
    ) -> Verdict<'f> {
        let Some(login) = self.login(facts) else {
            return Verdict::Now(Flow::Continue);
        };
        match login.find_now(facts.headers) {
            FoundSession::Session(session) => accept(login, &session, facts, context),
            FoundSession::None => self.without(login, facts, context),
            FoundSession::Later => {
                let facts = *facts;
                return Verdict::Later(Box::pin(async move {
                    match login.find(facts.headers).await {
                        Ok(Some(session)) => accept(login, &session, &facts, context),
                        Ok(None) => self.without(login, &facts, context),
                        Err(failure) => refuse(login, failure, &facts, context),
                    }
                    Flow::Continue
                }));
            }
        }
        Verdict::Now(Flow::Continue)
    }

    /// That of the host.
    fn login(&self, facts: &RequestFacts<'_>) -> Option<&Arc<Login>> {
        let host = std::str::from_utf8(facts.host.unwrap_or_default()).unwrap_or_default();
        let host = Authority::parse(host).map(|authority| authority.host);
        let host = host.as_deref().unwrap_or_default();
        let mut logins = self.logins.iter();
        let found = logins.find(|(hosts, _)| {
            hosts.is_empty() || hosts.iter().any(|pattern| pattern.matches(host))
        });
        found.map(|(_, login)| login)
    }

    /// A client with a token of its own is no browser; what the token permits is up to the route's `auth`.
    fn without(&self, login: &Arc<Login>, facts: &RequestFacts<'_>, context: &mut PolicyContext) {
        let has_token = facts.headers.first(&header::AUTHORIZATION).is_some();
        let is_needed = match self.auth {
            Auth::Optional => false,
            Auth::Required => !has_token,
            Auth::Public => true,
        };
        if is_needed {
            context.login = Some(LoginContext::Challenge(Arc::clone(login)));
        }
    }
}

fn accept(
    login: &Arc<Login>,
    session: &Arc<Session>,
    facts: &RequestFacts<'_>,
    context: &mut PolicyContext,
) {
    let is_safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(facts.method)
        && facts.websocket == WebSocket::No;
    if !is_safe && !is_of_page(facts, session) {
        context.deferred = Some(error::cross_site_request().into());
        context.login = Some(LoginContext::Refused);
        return;
    }
    let config = &login.config;
    context.caller = Some(Arc::clone(&session.claims));
    let mut set = |name: Option<&HeaderName>, value: Option<&HeaderValue>| {
        if let (Some(name), Some(value)) = (name, value) {
            context.edits.push(Edit::Set(name.clone(), value.clone()));
        }
    };
    let headers = &config.headers;
    set(headers.user.as_ref(), session.user.as_ref());
    set(headers.email.as_ref(), session.email.as_ref());
    set(headers.groups.as_ref(), session.groups.as_ref());
    set(headers.name.as_ref(), session.name.as_ref());
    match &config.access_token_header {
        Some(name) if *name == header::AUTHORIZATION => set(Some(name), session.bearer.as_ref()),
        name => set(name.as_ref(), session.token.as_ref()),
    }
    let token = session.token.clone().filter(|_| config.verify_access_token);
    context.login = Some(LoginContext::Session(SessionOfRequest {
        login: Arc::clone(login),
        session: Arc::clone(session),
        token,
    }));
    if facts.websocket == WebSocket::Handshake {
        let span =
            AccessSpan::of_session(session.record.ends_at, login.open_sessions(), &session.key);
        context.access = Some(Box::new(span));
    }
}

fn refuse(
    login: &Arc<Login>,
    failure: LoginFailure,
    facts: &RequestFacts<'_>,
    context: &mut PolicyContext,
) {
    context.deferred = Some(login.refuse(failure, facts));
    context.login = Some(LoginContext::Refused);
}

/// Sends a browser to the provider, if the route needs a session and there is none.
pub(super) fn challenge<'f>(facts: &RequestFacts<'f>, context: &PolicyContext) -> Verdict<'f> {
    let Some(LoginContext::Challenge(login)) = &context.login else {
        return Verdict::Now(Flow::Continue);
    };
    let (login, facts) = (Arc::clone(login), *facts);
    Verdict::Later(Box::pin(async move {
        Flow::Reply(login.challenge(&facts).await)
    }))
}

/// The request is let through.
pub(super) fn note_use(context: &PolicyContext) {
    if let Some(LoginContext::Session(used)) = &context.login {
        used.login.note_use(&used.session);
    }
}

/// The cookies of all logins, which are no business of any upstream. By the names of those of sessions.
#[derive(Clone, Debug)]
pub(crate) struct LoginCookies(Arc<[Box<str>]>);

impl LoginCookies {
    /// `None`: there are no logins.
    pub(crate) fn of(logins: &[Arc<Login>]) -> Option<Self> {
        let names = logins.iter().map(|login| login.config.cookie.as_str());
        let names: Arc<[Box<str>]> = names.map(Box::from).collect();
        (!names.is_empty()).then_some(Self(names))
    }

    /// What is left of the cookies of a request.
    pub(super) fn left<'v>(&self, values: impl Iterator<Item = &'v [u8]> + Clone) -> LeftCookies {
        let is_own = |name: &[u8]| self.0.iter().any(|own| is_of_login(own, name));
        without_cookies(values, is_own)
    }

    /// After every step that edits cookies.
    pub(super) fn on_request(&self, facts: &RequestFacts<'_>, context: &mut PolicyContext) {
        let edited = context.edits.iter().rev().find_map(|edit| match edit {
            Edit::Set(name, value) if *name == header::COOKIE => Some(Some(value.clone())),
            Edit::Remove(name) if *name == header::COOKIE => Some(None),
            _ => None,
        });
        let left = match &edited {
            Some(None) => return,
            Some(Some(value)) => self.left([value.as_bytes()].into_iter()),
            None => self.left(facts.headers.all(header::COOKIE)),
        };
        match left {
            LeftCookies::All => {}
            LeftCookies::Some(value) => context.edits.push(Edit::Set(header::COOKIE, value)),
            LeftCookies::None => context.edits.push(Edit::Remove(header::COOKIE)),
        }
    }
}
