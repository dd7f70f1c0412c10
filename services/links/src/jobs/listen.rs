//! Hears from Postgres what the other replicas have done.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::postgres::{PgListener, PgNotification};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::pause;
use crate::{domain::feeds::CATCH_UP, state::AppState};

const EDITS: &str = "links_edits";
const CLICKS: &str = "links_clicks";
/// Every replica beats twice a minute: a connection on which nothing is heard is dead.
const BEATS: &str = "links_beats";
const SILENCE: Duration = Duration::from_secs(100);
/// Notifications that are taken together.
const BACKLOG: usize = 256;

/// A link was made, edited or deleted.
#[derive(Deserialize)]
struct Edit {
    slugs: Vec<String>,
    deleted: Option<Uuid>,
}

/// A batch of clicks was written.
#[derive(Deserialize)]
struct Written {
    /// Time of the oldest click, in milliseconds since 1970.
    since: i64,
    /// The links that were clicked; null when they are too many to name.
    links: Option<Vec<Uuid>>,
}

pub(super) async fn run(state: AppState) {
    let mut failures = 0;
    loop {
        match listen(&state, &mut failures).await {
            Ok(()) => tracing::warn!("the connection that hears of edits was lost"),
            Err(error) => tracing::warn!(%error, "edits cannot be heard of"),
        }
        tokio::time::sleep(pause(failures)).await;
        failures += 1;
    }
}

/// Listens until the connection is lost.
async fn listen(state: &AppState, failures: &mut u32) -> Result<(), sqlx::Error> {
    let pool = state.listen_pool()?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen_all([EDITS, CLICKS, BEATS]).await?;
    *failures = 0;
    // Whatever was told while nobody listened is made up for.
    state.visits.redirects.forget_all();
    state
        .feeds
        .announce(None, state.clock.now() - CATCH_UP)
        .await
        .ok();
    let (heard, mut waiting) = mpsc::channel(BACKLOG);
    let hear = async {
        while let Ok(received) = tokio::time::timeout(SILENCE, listener.try_recv()).await {
            let Some(notification) = received? else { break };
            if heard.send(notification).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let act = async {
        let mut notifications = Vec::new();
        while waiting.recv_many(&mut notifications, BACKLOG).await > 0 {
            obey(state, notifications.drain(..)).await;
        }
    };
    tokio::select! {
        ended = hear => ended,
        () = act => Ok(()),
    }
}

/// Does what some notifications ask for, those of clicks all at once.
async fn obey(state: &AppState, notifications: impl Iterator<Item = PgNotification>) {
    let mut clicked: Option<(Option<Vec<Uuid>>, DateTime<Utc>)> = None;
    for notification in notifications {
        let text = notification.payload();
        if notification.channel() == EDITS {
            match serde_json::from_str::<Edit>(text) {
                Ok(edit) => forget(state, edit).await,
                // Somebody else's notification, or a later release's.
                Err(_) => state.visits.redirects.forget_all(),
            }
        } else if notification.channel() == CLICKS
            && let Ok(written) = serde_json::from_str::<Written>(text)
        {
            let since = DateTime::from_timestamp_millis(written.since).unwrap_or_default();
            clicked = Some(match clicked {
                None => (written.links, since),
                Some((links, earliest)) => {
                    let both = links
                        .zip(written.links)
                        .map(|(links, more)| [links, more].concat());
                    (both, earliest.min(since))
                }
            });
        }
    }
    if let Some((links, since)) = clicked
        && let Err(error) = state.feeds.announce(links.as_deref(), since).await
    {
        tracing::warn!(
            error = format!("{:#}", anyhow::Error::from(error)),
            "watchers wait for clicks"
        );
    }
}

async fn forget(state: &AppState, edit: Edit) {
    for slug in &edit.slugs {
        state.visits.redirects.forget(slug).await;
    }
    if let Some(id) = edit.deleted {
        state.feeds.end(id);
    }
}
