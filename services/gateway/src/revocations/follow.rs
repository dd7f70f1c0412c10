//! Reads the feed of core, page by page.

use std::time::Duration;

use http::header;
use quartet_auth::signature::Signer;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::{Revocations, TooMany};
use crate::config::model;

/// A longer response is none of core's.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Pages of one round; further ones are left to the next.
const MAX_PAGES: usize = 10_000;
/// Longer texts are neither sessions nor cursors of core.
const MAX_TEXT_BYTES: usize = 255;
/// The id of every request. Repeating one is harmless, so that it need not differ.
const SIGNED_ID: &str = "revocations";

/// Why the feed could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    #[error("core does not respond as expected")]
    Http(#[from] reqwest::Error),
    #[error("the response is longer than {MAX_BODY_BYTES} bytes")]
    TooLong,
    #[error("the response is not valid")]
    Invalid(#[from] serde_json::Error),
    #[error("the response names something that is neither a session nor a cursor")]
    NotOfCore,
    #[error("there are more pages than can be read at once")]
    Endless,
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

#[derive(Deserialize)]
struct Page {
    revocations: Vec<RevokedSession>,
    next: String,
    more: bool,
}

#[derive(Deserialize)]
struct RevokedSession {
    session_id: Box<str>,
    until: i64,
}

/// Where a gateway is in the feed.
#[derive(Debug)]
pub(crate) struct Follower {
    settings: model::Revocations,
    url: Url,
    signer: Signer,
    client: reqwest::Client,
    cursor: Option<String>,
}

impl Follower {
    /// `None`: there is no feed.
    ///
    /// # Errors
    /// When nothing can be fetched over TLS here.
    pub(crate) fn new(settings: &model::Revocations) -> Result<Option<Self>, reqwest::Error> {
        let signer = settings.secret.as_ref().and_then(Signer::new);
        let (Some(url), Some(signer)) = (settings.url.clone(), signer) else {
            return Ok(None);
        };
        let mut client = reqwest::Client::builder()
            .timeout(Duration::from_millis(settings.timeout_ms))
            .redirect(reqwest::redirect::Policy::none());
        if url.scheme() == "http" {
            // Parsing the certificates of the platform takes time and a megabyte, for nothing here.
            client = client.tls_certs_only([]);
        }
        Ok(Some(Self {
            settings: settings.clone(),
            url,
            signer,
            client: client.build()?,
            cursor: None,
        }))
    }

    pub(crate) fn is_of(&self, settings: &model::Revocations) -> bool {
        self.settings == *settings
    }

    /// Reads the feed to its end.
    ///
    /// # Errors
    /// [`FeedError`]. The next round continues where this one was.
    pub(crate) async fn round(&mut self, revocations: &Revocations) -> Result<(), FeedError> {
        for _ in 0..MAX_PAGES {
            let page = self.page(revocations).await?;
            let sessions = page.revocations.into_iter();
            let sessions: Vec<_> = sessions
                .map(|revoked| (revoked.session_id, revoked.until))
                .collect();
            let is_text = |text: &str| !text.is_empty() && text.len() <= MAX_TEXT_BYTES;
            if !(is_text(&page.next) && sessions.iter().all(|(session, _)| is_text(session))) {
                return Err(FeedError::NotOfCore);
            }
            revocations.add(sessions, self.settings.max_sessions)?;
            self.cursor = Some(page.next);
            if !page.more {
                revocations.note_end();
                return Ok(());
            }
        }
        Err(FeedError::Endless)
    }

    async fn page(&self, revocations: &Revocations) -> Result<Page, FeedError> {
        let body = json!({ "after": self.cursor }).to_string();
        let now = revocations.clock.now();
        let request = self
            .client
            .post(self.url.clone())
            .headers(self.signer.sign(SIGNED_ID, now, body.as_bytes()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        let mut response = request.send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(FeedError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(serde_json::from_slice(&body)?)
    }
}
