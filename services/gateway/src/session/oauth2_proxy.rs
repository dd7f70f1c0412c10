//! The paths of oauth2-proxy, so that configurations that ask it (`auth_request` of nginx) go on as before.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};
use quartet_common::problem::Problem;
use serde_json::json;

use super::{exchange::json as json_reply, live::Session, login::Login};
use crate::{error, reply::Reply, request::RequestFacts};

static USER: HeaderName = HeaderName::from_static("x-auth-request-user");
static EMAIL: HeaderName = HeaderName::from_static("x-auth-request-email");
static GROUPS: HeaderName = HeaderName::from_static("x-auth-request-groups");
static PREFERRED: HeaderName = HeaderName::from_static("x-auth-request-preferred-username");
static TOKEN: HeaderName = HeaderName::from_static("x-auth-request-access-token");
static REDIRECT: HeaderName = HeaderName::from_static("x-auth-request-redirect");

impl Login {
    /// 202 for a session, with headers that name the user; 401 without one; 403 for a user whom the query
    /// does not list.
    ///
    /// # Errors
    /// The problem that is the response.
    pub(super) async fn proxy_auth(
        self: &Arc<Self>,
        facts: &RequestFacts<'_>,
        query: &str,
    ) -> Result<Reply, Problem> {
        let found = self.find(facts.headers).await;
        let session = found.map_err(super::LoginFailure::into_problem)?;
        let session = session.ok_or_else(error::login_required)?;
        if !is_listed(&session, query) {
            return Err(error::login_refused());
        }
        self.note_use(&session);
        let token = session
            .token
            .as_ref()
            .filter(|_| self.config.access_token_header.is_some());
        let headers = [
            (&USER, session.user.as_ref()),
            (&EMAIL, session.email.as_ref()),
            (&GROUPS, session.groups.as_ref()),
            (&PREFERRED, session.name.as_ref()),
            (&TOKEN, token),
        ];
        let reply = Reply::ok(HeaderValue::from_static("text/plain"), "Authenticated\n")
            .status(StatusCode::ACCEPTED)
            .header(
                http::header::CACHE_CONTROL,
                HeaderValue::from_static("no-store"),
            );
        let headers = headers
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        Ok(headers.fold(reply, |reply, (name, value)| {
            reply.header(name.clone(), value.clone())
        }))
    }

    /// # Errors
    /// The problem that is the response.
    pub(super) async fn proxy_userinfo(&self, facts: &RequestFacts<'_>) -> Result<Reply, Problem> {
        let session = self.current(facts.headers).await?;
        let identity = &session.record.identity;
        Ok(json_reply(&json!({
            "user": identity.subject,
            "email": identity.email,
            "groups": identity.groups,
            "preferredUsername": identity.username,
        })))
    }
}

/// Where a browser goes after a login: the parameter `rd`, or what nginx says of the request.
pub(super) fn proxy_target(facts: &RequestFacts<'_>, rd: Option<String>) -> Option<String> {
    rd.or_else(|| {
        let sent = facts.headers.first(&REDIRECT)?;
        std::str::from_utf8(sent).ok().map(str::to_owned)
    })
}

/// The lists of the query (`allowed_groups`, `allowed_emails`, `allowed_email_domains`), all of which a user
/// has to be in.
fn is_listed(session: &Session, query: &str) -> bool {
    let identity = &session.record.identity;
    let email = identity
        .email
        .as_deref()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let domain = email.rsplit_once('@').map(|(_, domain)| domain);
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.all(|(name, value)| {
        let mut values = value
            .split(',')
            .filter(|value| !value.is_empty())
            .peekable();
        if values.peek().is_none() {
            return true;
        }
        match &*name {
            "allowed_groups" => {
                values.any(|value| identity.groups.iter().any(|group| group == value))
            }
            "allowed_emails" => values.any(|value| value.eq_ignore_ascii_case(&email)),
            "allowed_email_domains" => values.any(|value| {
                domain.is_some_and(|domain| match value.strip_prefix("*.") {
                    Some(_) => domain.ends_with(&value[1..].to_ascii_lowercase()),
                    None => value.eq_ignore_ascii_case(domain),
                })
            }),
            _ => true,
        }
    })
}
