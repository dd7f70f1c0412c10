//! Listens to the notifications of other replicas, on a connection of its own.

use std::{collections::HashSet, time::Duration};

use chrono::{DateTime, Utc};
use quartet_jobs::Run;
use serde::Deserialize;
use sqlx::postgres::{PgListener, PgNotification};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    domain::{Context, replica::feeds::CATCH_UP, values::short_urls::ShortUrlRef},
    jobs::maintain,
    store::links::LinkId,
};

const EDITS: &str = "links_edits";
const CLICKS: &str = "links_clicks";
const DOMAINS: &str = "links_domains";
/// Every replica sends a heartbeat twice a minute, so that a silent connection is a dead one.
const HEARTBEATS: &str = "links_beats";
pub(super) const MAX_SILENCE: Duration = Duration::from_secs(100);
/// Notifications that are handled together.
const BACKLOG: usize = 256;

/// Links were created, changed or deleted.
#[derive(Deserialize)]
struct EditNotification {
    /// Of each slug.
    domains: Vec<Uuid>,
    slugs: Vec<String>,
    deleted: Vec<Uuid>,
}

/// A batch of clicks was stored.
#[derive(Deserialize)]
struct StoredNotification {
    /// Time of the oldest click, in milliseconds since 1970.
    since: i64,
    /// The clicked links; null when they are too many for one notification.
    links: Option<Vec<Uuid>>,
}

/// The batches of several notifications.
struct Announcement {
    /// A set: many batches are of the same links, and each feed of the replica is looked up in it.
    links: Option<HashSet<LinkId>>,
    since: DateTime<Utc>,
}

/// Listens until the connection is lost.
///
/// # Errors
/// When the connection fails, or clicks could not be read for subscriptions: the job catches up when
/// it starts again, and nothing else would. A connection that is closed ends the run without an
/// error, which counts as a failure of a continuous job.
pub(super) async fn run(ctx: Context, run: Run) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(&ctx.listen_db).await?;
    listener.eager_reconnect(false);
    listener
        .listen_all([EDITS, CLICKS, DOMAINS, HEARTBEATS])
        .await?;
    run.succeeded();
    // Catch up on notifications that were sent before the connection existed.
    ctx.redirects.forget_all();
    maintain::refresh_domains(&ctx).await?;
    let since = ctx.clock.now() - CATCH_UP;
    ctx.feeds.announce(&ctx.db, None, since).await?;
    let (sender, mut received) = mpsc::channel(BACKLOG);
    let receive = async {
        while let Ok(received) = tokio::time::timeout(MAX_SILENCE, listener.try_recv()).await {
            let Some(notification) = received? else { break };
            run.succeeded();
            if sender.send(notification).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let handle = async {
        let mut notifications = Vec::new();
        while received.recv_many(&mut notifications, BACKLOG).await > 0 {
            handle_notifications(&ctx, notifications.drain(..)).await?;
        }
        Ok(())
    };
    tokio::select! {
        ended = receive => ended,
        ended = handle => ended,
    }
}

/// Handles edits one by one and batches of clicks together.
async fn handle_notifications(
    ctx: &Context,
    notifications: impl Iterator<Item = PgNotification>,
) -> Result<(), sqlx::Error> {
    let mut announcement: Option<Announcement> = None;
    let mut domains_changed = false;
    for notification in notifications {
        let payload = notification.payload();
        if notification.channel() == EDITS {
            match serde_json::from_str::<EditNotification>(payload) {
                Ok(edit) => forget(ctx, edit),
                // Not of this release: it may concern any link.
                Err(_) => ctx.redirects.forget_all(),
            }
        } else if notification.channel() == DOMAINS {
            domains_changed = true;
        } else if notification.channel() == CLICKS
            && let Ok(stored) = serde_json::from_str::<StoredNotification>(payload)
        {
            let stored = Announcement::from(stored);
            announcement = Some(match announcement {
                None => stored,
                Some(earlier) => earlier.merge(stored),
            });
        }
    }
    if domains_changed && let Err(error) = maintain::refresh_domains(ctx).await {
        tracing::warn!(%error, "changed domains could not be read; they are read again within 30 s");
    }
    let Some(Announcement { links, since }) = announcement else {
        return Ok(());
    };
    ctx.feeds.announce(&ctx.db, links.as_ref(), since).await
}

fn forget(ctx: &Context, edit: EditNotification) {
    for (domain, slug) in edit.domains.into_iter().zip(&edit.slugs) {
        let domain = domain.into();
        ctx.redirects.forget(ShortUrlRef { domain, slug });
    }
    for id in edit.deleted {
        ctx.feeds.end(id.into());
    }
}

impl From<StoredNotification> for Announcement {
    fn from(stored: StoredNotification) -> Self {
        let links = stored
            .links
            .map(|links| links.into_iter().map(LinkId::from));
        Self {
            links: links.map(Iterator::collect),
            since: DateTime::from_timestamp_millis(stored.since).unwrap_or_default(),
        }
    }
}

impl Announcement {
    fn merge(self, other: Self) -> Self {
        let links = self.links.zip(other.links);
        Self {
            links: links.map(|(mut links, more)| {
                links.extend(more);
                links
            }),
            since: self.since.min(other.since),
        }
    }
}
