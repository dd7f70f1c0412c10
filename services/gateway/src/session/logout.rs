//! Ends a session here, and where it came from (OpenID Connect RP-Initiated Logout 1.0).

use std::sync::Arc;

use http::{Method, header};
use quartet_common::causes;
use url::Url;

use super::{
    failure::LoginFailure,
    live::Session,
    login::{Login, redirect},
    provider::{Metadata, ProviderError, revoke},
};
use crate::{config::model::LoginKind, reply::Reply, request::Headers};

/// A longer token is not sent as a hint: it is a part of a URL.
const MAX_HINT_BYTES: usize = 4096;

impl Login {
    /// Ends the session of a request, and sends the browser on: to the provider, which ends its own, or to
    /// the target.
    ///
    /// # Errors
    /// When the store does not answer: the session may still be there, and the cookie stays.
    pub(super) async fn log_out(
        self: &Arc<Self>,
        headers: &dyn Headers,
        return_to: Option<&str>,
    ) -> Result<Reply, LoginFailure> {
        let session = self.end(headers).await?;
        let location = self.after_logout(session.as_deref(), return_to).await;
        let cookies = self.cleared(headers).into_iter();
        Ok(cookies.fold(redirect(&location), |reply, cookie| {
            reply.header(header::SET_COOKIE, cookie)
        }))
    }

    /// Ends the session of a request.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(super) async fn end(
        self: &Arc<Self>,
        headers: &dyn Headers,
    ) -> Result<Option<Arc<Session>>, LoginFailure> {
        let Some(session) = self.stored(headers).await? else {
            return Ok(None);
        };
        self.store.remove(&session.key).await?;
        self.counts.logged_out.inc();
        // The browser does not wait for it: here, the session has ended.
        tokio::spawn(Arc::clone(self).end_at_provider(Arc::clone(&session)));
        Ok(Some(session))
    }

    async fn end_at_provider(self: Arc<Self>, session: Arc<Session>) {
        let ended = match self.config.provider.kind {
            LoginKind::Core => self.end_at_core(&session).await,
            LoginKind::Github => Ok(()),
            _ => self.revoke(&session).await,
        };
        if let Err(error) = ended {
            tracing::warn!(target: "quartet", login = &*self.config.name, error = causes(&error),
                "the tokens of a session that has ended could not be revoked");
        }
    }

    async fn end_at_core(&self, session: &Session) -> Result<(), ProviderError> {
        let Some(url) = self.config.provider.logout_url.clone() else {
            return Ok(());
        };
        let token = session.record.tokens.access.as_deref();
        let answer = self.client.ask_core(Method::DELETE, url, token, None).await;
        match answer {
            // It had ended before.
            Err(ProviderError::Status(401 | 404)) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// RFC 7009.
    async fn revoke(&self, session: &Session) -> Result<(), ProviderError> {
        let provider = &self.config.provider;
        let metadata = self.metadata.get(provider, &self.client).await?;
        let token = session.record.tokens.refresh.as_deref();
        let (Some(url), Some(token)) = (metadata.revocation_endpoint.clone(), token) else {
            return Ok(());
        };
        revoke(url, token, (provider, &metadata, &self.client)).await
    }

    /// Where the browser goes.
    async fn after_logout(&self, session: Option<&Session>, return_to: Option<&str>) -> String {
        let target = return_to.and_then(|sent| self.targets().check(sent));
        let target = target.unwrap_or_else(|| format!("{}/logged_out", self.config.path));
        let provider = &self.config.provider;
        let metadata = match provider.kind {
            LoginKind::Core | LoginKind::Github => None,
            _ => self.metadata.get(provider, &self.client).await.ok(),
        };
        let url = metadata.and_then(|metadata| self.end_session_url(&metadata, session, &target));
        url.map_or(target, String::from)
    }

    /// `None`: the provider has no such page, or there is no session that it should end.
    fn end_session_url(
        &self,
        metadata: &Metadata,
        session: Option<&Session>,
        target: &str,
    ) -> Option<Url> {
        let mut url = metadata.end_session_endpoint.clone()?;
        let session = session?;
        let back = self.config.base_url.join(target).ok()?;
        {
            let mut query = url.query_pairs_mut();
            let hint = session.record.tokens.id.as_deref();
            if let Some(hint) = hint.filter(|hint| hint.len() <= MAX_HINT_BYTES) {
                query.append_pair("id_token_hint", hint);
            }
            query
                .append_pair("client_id", &self.config.provider.client_id)
                .append_pair("post_logout_redirect_uri", back.as_str());
        }
        Some(url)
    }
}
