//! Reads the feed of core, page by page.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use quartet_auth::signature::Signer;
use serde::Deserialize;
use serde_json::json;

use super::{Revocations, TooMany};
use crate::{
    config::model,
    signed::{SignedClient, SignedError},
};

/// A longer response is none of core's.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Pages of one round; further ones are left to the next.
const MAX_PAGES: usize = 10_000;
/// Longer texts are neither sessions nor cursors of core.
const MAX_TEXT_BYTES: usize = 255;
/// A clock that goes back by more was set. Smaller steps are those of its synchronization.
const CLOCK_STEP: TimeDelta = TimeDelta::seconds(1);
/// The id of every request. Repeating one is harmless, so that it need not differ.
const SIGNED_ID: &str = "revocations";

/// Why the feed could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    #[error(transparent)]
    Request(#[from] SignedError),
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
    client: SignedClient,
    cursor: Option<String>,
    /// When the last round began.
    began: Option<DateTime<Utc>>,
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
        let timeout = Duration::from_millis(settings.timeout_ms);
        Ok(Some(Self {
            settings: settings.clone(),
            client: SignedClient::new(url, signer, timeout, MAX_BODY_BYTES)?,
            cursor: None,
            began: None,
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
        let now = revocations.clock.now();
        let before = self.began.replace(now);
        if before.is_some_and(|before| now + CLOCK_STEP < before) {
            // What was forgotten because it had expired may be valid again.
            self.cursor = None;
        }
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
            if page.more && self.cursor.as_ref() == Some(&page.next) {
                return Err(FeedError::Endless);
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
        let body = self.client.post(SIGNED_ID, now, body).await?;
        Ok(serde_json::from_slice(&body).map_err(SignedError::from)?)
    }
}

#[cfg(test)]
mod tests {
    use quartet_common::clock::Clock;
    use serde_json::Value;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::config::model::OnFeedError;

    /// A feed that answers every request with this, and the cursors that it is asked for.
    async fn feed(page: Value) -> (Follower, tokio::sync::mpsc::UnboundedReceiver<Value>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, cursors) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = Vec::new();
                let body = loop {
                    stream.read_buf(&mut bytes).await.unwrap();
                    let text = String::from_utf8_lossy(&bytes);
                    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
                    let body = body.and_then(|body| serde_json::from_str::<Value>(&body).ok());
                    if let Some(body) = body {
                        break body;
                    }
                };
                let _ = asked.send(body["after"].clone());
                let page = page.to_string();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{page}",
                    page.len()
                );
                stream.write_all(head.as_bytes()).await.unwrap();
            }
        });
        let settings = model::Revocations {
            url: Some(format!("http://{address}/feed").parse().unwrap()),
            secret: Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()),
            interval_ms: 100,
            timeout_ms: 20_000,
            stale_seconds: 10,
            on_feed_error: OnFeedError::Allow,
            max_sessions: 100,
        };
        (Follower::new(&settings).unwrap().unwrap(), cursors)
    }

    /// While the clock was wrong, sessions were forgotten whose tokens are valid.
    #[tokio::test]
    async fn everything_is_read_again_after_the_clock_was_set_back() {
        let clock = Clock::manual(Clock::system().now());
        let until = clock.now().timestamp() + 600;
        let sessions = json!([{ "session_id": "ses_a", "until": until }]);
        let page = json!({ "revocations": sessions, "next": "1", "more": false });
        let (mut follower, mut cursors) = feed(page).await;
        let revocations = Revocations::new(clock.clone());
        for (step, after, revoked) in [
            (0, json!(null), true),
            (3600, json!("1"), false),
            (-3600, json!(null), true),
            (0, json!("1"), true),
        ] {
            clock.advance(TimeDelta::seconds(step));
            follower.round(&revocations).await.unwrap();
            assert_eq!(cursors.recv().await.unwrap(), after, "{step}");
            assert_eq!(revocations.is_revoked("ses_a"), revoked, "{step}");
        }
    }

    #[tokio::test]
    async fn a_feed_without_an_end_is_left() {
        let page = json!({ "revocations": [], "next": "1", "more": true });
        let (mut follower, mut cursors) = feed(page).await;
        let revocations = Revocations::new(Clock::system());
        let error = follower.round(&revocations).await.unwrap_err();
        assert!(matches!(error, FeedError::Endless), "{error}");
        assert!(revocations.is_older_than(Duration::MAX));
        cursors.close();
        let mut asked = 0;
        while cursors.recv().await.is_some() {
            asked += 1;
        }
        assert_eq!(asked, 2);
    }
}
