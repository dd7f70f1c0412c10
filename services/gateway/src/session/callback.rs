//! The provider sends the browser back.

use std::{sync::Arc, time::Duration};

use http::header;

use super::{
    cookie,
    failure::LoginFailure,
    flow::Flow,
    ids::{SessionKey, random_name},
    live::Session,
    login::{Login, redirect},
    provider::{CodeExchange, ProviderError, TokenSet, identify},
    record::{Identity, Record, Secret, Tokens},
};
use crate::{
    config::logins::AllowedUsers,
    reply::{GatewayResponse, Reply},
    request::Headers,
};

/// A longer code is none.
const MAX_CODE_BYTES: usize = 4096;

/// The parameters of a callback. One that is there twice counts as not there.
#[derive(Debug, Default)]
pub(super) struct CallbackQuery {
    code: Option<String>,
    state: Option<String>,
    issuer: Option<String>,
    error: Option<String>,
}

impl CallbackQuery {
    pub(super) fn parse(query: &str) -> Self {
        let get = |name: &str| {
            let pairs = url::form_urlencoded::parse(query.as_bytes());
            let mut values = pairs.filter(|(other, _)| other == name);
            let value = values.next().map(|(_, value)| value.into_owned());
            value.filter(|value| values.next().is_none() && !value.is_empty())
        };
        Self {
            code: get("code").filter(|code| code.len() <= MAX_CODE_BYTES),
            state: get("state"),
            issuer: get("iss"),
            error: get("error"),
        }
    }
}

impl Login {
    /// Ends a flow: with a session, or with a page that says why there is none.
    pub(super) async fn callback(
        &self,
        query: CallbackQuery,
        headers: &dyn Headers,
    ) -> Box<GatewayResponse> {
        let flow = match self.take_flow(&query, headers).await {
            Ok(flow) if !flow.is_used => flow,
            // Browsers repeat the callback, after "back" or a restart; and of two tabs, one may have logged
            // in for both.
            Ok(used) => {
                let failure = LoginFailure::Expired;
                return self.replayed(failure, &used.target, headers).await;
            }
            Err(failure) => return self.replayed(failure, "/", headers).await,
        };
        match self.finish(&query, &flow, headers).await {
            Ok(reply) => {
                self.counts.succeeded.inc();
                Box::new(GatewayResponse::Reply(reply))
            }
            Err(failure) => self.failed(failure, &flow.target, headers).await,
        }
    }

    async fn take_flow(
        &self,
        query: &CallbackQuery,
        headers: &dyn Headers,
    ) -> Result<Flow, LoginFailure> {
        let state = query
            .state
            .as_deref()
            .ok_or(LoginFailure::Malformed("no state"))?;
        let key = SessionKey::of_sent(state.as_bytes()).ok_or(LoginFailure::Expired)?;
        let mut browsers = self.cookies.flows(headers);
        let flow = self
            .store
            .take_flow(&key)
            .await?
            .ok_or(LoginFailure::Expired)?;
        if flow.is_over(self.now()) {
            return Err(LoginFailure::Expired);
        }
        if !flow.is_used && !browsers.any(|(_, browser)| flow.is_of(browser)) {
            return Err(LoginFailure::OtherBrowser);
        }
        Ok(flow)
    }

    /// With a session, nothing is wrong.
    async fn replayed(
        &self,
        failure: LoginFailure,
        target: &str,
        headers: &dyn Headers,
    ) -> Box<GatewayResponse> {
        match self.stored(headers).await {
            Ok(Some(_)) => {
                let target = self.targets().or_front(Some(target));
                Box::new(GatewayResponse::Reply(redirect(&target)))
            }
            Ok(None) => self.failed(failure, target, headers).await,
            Err(away) => self.failed(away.into(), target, headers).await,
        }
    }

    async fn finish(
        &self,
        query: &CallbackQuery,
        flow: &Flow,
        headers: &dyn Headers,
    ) -> Result<Reply, LoginFailure> {
        let provider = &self.config.provider;
        let metadata = self.metadata.get(provider, &self.client).await?;
        // A response that another provider has sent must not reach this one's token endpoint (RFC 9207).
        match &query.issuer {
            Some(issuer) if *issuer != metadata.issuer => {
                return Err(ProviderError::Mismatch("iss of the response").into());
            }
            None if metadata.authorization_response_iss_parameter_supported => {
                return Err(ProviderError::Missing("iss").into());
            }
            _ => {}
        }
        if let Some(error) = &query.error {
            return Err(denied(error));
        }
        let code = query
            .code
            .as_deref()
            .ok_or(LoginFailure::Malformed("no code"))?;
        let redirect_uri = self.redirect_uri();
        let exchange = CodeExchange {
            code,
            verifier: &flow.verifier.0,
            redirect_uri: &redirect_uri,
        };
        let with = (provider, &*metadata, &self.client);
        let set = TokenSet::of_code(exchange, with).await?;
        let now = self.now();
        let tokens = set.into_tokens(now, None);
        if self.needs_token() && tokens.are_over(now) {
            // The session would end with the next request, which would lead here again.
            return Err(ProviderError::Missing("access_token that is still valid").into());
        }
        let nonce = (flow.nonce.0.as_str(), now);
        let identity = identify(&tokens, nonce, with, self.verifier.as_ref()).await?;
        self.config.allowed.check(&identity)?;
        let session = self.open_session(identity, tokens, None, headers).await?;
        let target = self.targets().or_front(Some(&flow.target));
        Ok(redirect(&target).header(header::SET_COOKIE, session.1))
    }

    /// A new session in place of the one that the browser had; with its cookie.
    ///
    /// # Errors
    /// [`LoginFailure`].
    pub(super) async fn open_session(
        &self,
        identity: Identity,
        tokens: Tokens,
        ends_at: Option<i64>,
        headers: &dyn Headers,
    ) -> Result<(Arc<Session>, http::HeaderValue), LoginFailure> {
        let now = self.now();
        let max = i64::try_from(self.config.max.as_secs()).unwrap_or(i64::MAX);
        let ends_at = ends_at.unwrap_or(i64::MAX).min(now.saturating_add(max));
        let record = Record {
            identity,
            tokens,
            csrf: Secret(random_name()),
            created_at: now,
            ends_at,
            generation: 0,
        };
        let name = random_name();
        let key = SessionKey::of(name.as_bytes());
        let session = Arc::new(Session::new(key, &self.config.name, record, now));
        self.store.insert(Arc::clone(&session), now).await?;
        for old in cookie::keys(headers, &self.cookies.session) {
            self.store.remove(&old).await?;
        }
        let age = Duration::from_secs((ends_at - now).max(0).unsigned_abs());
        let cookie = self.cookies.set(&self.cookies.session, &name, Some(age));
        Ok((session, cookie))
    }
}

/// The codes of RFC 6749, 4.1.2.1, and OpenID Connect Core 1.0, 3.1.2.6.
fn denied(error: &str) -> LoginFailure {
    match error {
        "server_error" => ProviderError::Status(500).into(),
        "temporarily_unavailable" => ProviderError::Status(503).into(),
        code => {
            let is_known = code.len() <= 64
                && code
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let code = if is_known { code } else { "unknown" };
            LoginFailure::Denied(code.to_owned())
        }
    }
}

impl AllowedUsers {
    /// Emails, domains and groups are alternatives, as are the members of each list; organizations of Google
    /// are required beside them.
    ///
    /// # Errors
    /// When the user is none of those who may log in.
    pub(super) fn check(&self, identity: &Identity) -> Result<(), LoginFailure> {
        if !self.hosted_domains.is_empty() {
            let domain = identity
                .hosted_domain
                .as_deref()
                .map(str::to_ascii_lowercase);
            if !domain.is_some_and(|domain| self.hosted_domains.contains(&domain)) {
                return Err(LoginFailure::NotAllowed("hosted domain"));
            }
        }
        let is_open = self.emails.is_empty() && self.domains.is_empty() && self.groups.is_empty();
        if is_open
            || identity
                .groups
                .iter()
                .any(|group| self.groups.contains(group))
        {
            return Ok(());
        }
        let Some(email) = identity.email.as_deref().map(str::to_ascii_lowercase) else {
            return Err(LoginFailure::NotAllowed("no email"));
        };
        // Anyone may write any email into an account of theirs.
        let is_verified = identity.email_verified == Some(true) || self.allows_unverified_email;
        let domain = email.rsplit_once('@').map(|(_, domain)| domain);
        let is_listed = self.emails.contains(&email)
            || domain
                .is_some_and(|domain| self.domains.iter().any(|listed| is_domain(domain, listed)));
        match (is_listed, is_verified) {
            (true, true) => Ok(()),
            (true, false) => Err(LoginFailure::NotAllowed("the email is not verified")),
            (false, _) => Err(LoginFailure::NotAllowed("neither email, domain nor group")),
        }
    }
}

/// `*.example.org` stands for all below, and not for itself.
fn is_domain(domain: &str, listed: &str) -> bool {
    match listed.strip_prefix('*') {
        Some(suffix) => suffix.starts_with('.') && domain.ends_with(suffix),
        None => domain == listed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn only_listed_users_may_log_in() {
        let allowed = |emails: &[&str], domains: &[&str], groups: &[&str]| {
            let list = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
            AllowedUsers {
                emails: list(emails),
                domains: list(domains),
                groups: list(groups),
                ..AllowedUsers::default()
            }
        };
        let user = |email: &str, verified: Option<bool>, groups: &[&str]| Identity {
            email: (!email.is_empty()).then(|| email.to_owned()),
            email_verified: verified,
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            ..Identity::default()
        };
        let ada = || user("Ada@Example.org", Some(true), &["dev"]);
        for (rules, user, expected) in [
            (allowed(&[], &[], &[]), user("", None, &[]), true),
            (allowed(&["ada@example.org"], &[], &[]), ada(), true),
            (allowed(&["bob@example.org"], &[], &[]), ada(), false),
            (
                allowed(&["bob@example.org"], &["example.org"], &[]),
                ada(),
                true,
            ),
            (allowed(&[], &["xample.org"], &[]), ada(), false),
            (allowed(&[], &["*.example.org"], &[]), ada(), false),
            (
                allowed(&[], &["*.example.org"], &[]),
                user("a@x.example.org", Some(true), &[]),
                true,
            ),
            (
                allowed(&[], &["*example.org"], &[]),
                user("a@xexample.org", Some(true), &[]),
                false,
            ),
            (
                allowed(&[], &["example.org"], &[]),
                user("a@evil.example@example.org", Some(true), &[]),
                true,
            ),
            (
                allowed(&[], &["example.org"], &[]),
                user("a@example.org", Some(false), &[]),
                false,
            ),
            (
                allowed(&[], &["example.org"], &[]),
                user("a@example.org", None, &[]),
                false,
            ),
            (
                allowed(&[], &["example.org"], &["dev"]),
                user("", None, &["dev"]),
                true,
            ),
            (allowed(&[], &[], &["ops"]), ada(), false),
            (allowed(&[], &[], &["Dev"]), ada(), false),
        ] {
            let result = rules.check(&user);
            assert_eq!(result.is_ok(), expected, "{rules:?} {user:?} {result:?}");
        }
        let google = AllowedUsers {
            hosted_domains: vec!["example.org".to_owned()],
            ..AllowedUsers::default()
        };
        assert!(google.check(&ada()).is_err());
        let of_organization = Identity {
            hosted_domain: Some("Example.org".to_owned()),
            ..ada()
        };
        assert!(google.check(&of_organization).is_ok());
    }

    #[test]
    fn parameters_count_if_they_are_there_once() {
        let query = CallbackQuery::parse("code=a%20b&state=s&iss=https%3A%2F%2Fp&error=");
        assert_eq!(query.code.as_deref(), Some("a b"));
        assert_eq!(
            (query.state.as_deref(), query.issuer.as_deref()),
            (Some("s"), Some("https://p"))
        );
        assert_eq!(query.error, None);
        let twice = CallbackQuery::parse("code=a&code=b&state=s&state=s");
        assert_eq!((twice.code, twice.state), (None, None));
    }
}
