//! `dead-letters`: what has failed for good, of events and durable jobs alike.
//!
//! A dead letter is named by where it is: `job/ID`, `event/CONSUMER/POSITION` in the service that has
//! published the event, or `received/POSITION` in the one that has taken it from a stream.

use std::{fmt::Write as _, str::FromStr};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{ArgGroup, Subcommand};
use quartet_common::{cli::print, clock::Clock, config::Database};
use quartet_db::{ensure_current, explain};
use quartet_events::{inbox::dead_letters as received, outbox::dead_letters as events};
use quartet_worker::dead_letters as jobs;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use crate::service::Service;

/// What one statement changes.
const BATCH: i64 = 1000;

// A doc comment would become the text of --help.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Print dead letters, the oldest first, a JSON object per line.
    List {
        /// Print at most this many of the jobs, and of the events. 1 to 1000.
        #[arg(long, default_value = "100", value_parser = clap::value_parser!(i64).range(1..=1000))]
        limit: i64,
    },
    /// Try dead letters again, with all their attempts.
    #[command(group = ArgGroup::new("which").args(["ids", "all"]).required(true))]
    Retry {
        /// What `list` prints as `id`. At most 1000.
        #[arg(num_args = 1..=1000)]
        ids: Vec<Id>,
        /// Every dead letter of the service.
        #[arg(long)]
        all: bool,
    },
}

/// Where a dead letter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    Job(i64),
    Event(String, i64),
    Received(i64),
}

impl FromStr for Id {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/');
        let number = |part: Option<&str>| part.and_then(|part| part.parse().ok());
        let id = match parts.next() {
            Some("job") => number(parts.next()).map(Self::Job),
            Some("event") => parts
                .next()
                .map(str::to_owned)
                .zip(number(parts.next()))
                .map(|(consumer, position)| Self::Event(consumer, position)),
            Some("received") => number(parts.next()).map(Self::Received),
            _ => None,
        };
        id.filter(|_| parts.next().is_none())
            .ok_or("must be job/ID, event/CONSUMER/POSITION or received/POSITION")
    }
}

pub(crate) fn run<S: Service>(settings: &Database, command: Command) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let db = quartet_db::pool(settings, &format!("quartet-{}-dead-letters", S::NAME))?;
            // Without it, a schema that is not migrated would be a missing table.
            if let Err(error) = ensure_current(S::MIGRATOR, &db, S::NAME).await {
                return Err(explain(error, settings).await.into());
            }
            match command {
                Command::List { limit } => list::<S>(&db, limit).await,
                Command::Retry { ids, .. } => retry::<S>(&db, &ids).await,
            }
        })
}

async fn list<S: Service>(db: &PgPool, limit: i64) -> anyhow::Result<()> {
    let mut db = quartet_db::read(db).await?;
    // One more says whether there are more.
    let dead = jobs::list(&mut db, limit + 1).await?;
    let mut lines: Vec<Value> = Vec::new();
    let kept = usize::try_from(limit)?;
    let mut more = dead.len() > kept;
    lines.extend(dead.iter().take(kept).map(|job| {
        json!({ "id": format!("job/{}", job.id), "task": job.task, "attempts": job.attempts,
                "at": time(job.at), "reason": job.reason })
    }));
    if S::PUBLISHES {
        let dead = events::list(&mut db, limit + 1).await?;
        more |= dead.len() > kept;
        lines.extend(dead.iter().take(kept).map(|event| {
            json!({ "id": format!("event/{}/{}", event.consumer, event.position),
                    "kind": event.kind, "subject": event.subject, "attempts": event.tries,
                    "at": time(event.at), "reason": event.reason })
        }));
    }
    if S::RECEIVES {
        let dead = received::list(&mut db, limit + 1).await?;
        more |= dead.len() > kept;
        lines.extend(dead.iter().take(kept).map(|event| {
            json!({ "id": format!("received/{}", event.position),
                    "kind": event.kind, "subject": event.subject, "attempts": event.tries,
                    "at": time(event.at), "reason": event.reason })
        }));
    }
    let mut text = String::new();
    for line in lines {
        writeln!(text, "{line}")?;
    }
    print(text)?;
    if more {
        eprintln!("there are more: see --limit");
    }
    Ok(())
}

/// What is to be tried again, by where it is. `None`: everything.
#[derive(Default)]
struct Chosen {
    jobs: Option<Vec<i64>>,
    events: Option<Vec<(String, i64)>>,
    received: Option<Vec<i64>>,
}

impl Chosen {
    /// No id stands for all.
    fn new(ids: &[Id]) -> Self {
        if ids.is_empty() {
            return Self::default();
        }
        let (mut jobs, mut events, mut received) = (Vec::new(), Vec::new(), Vec::new());
        for id in ids {
            match id {
                Id::Job(id) => jobs.push(*id),
                Id::Event(consumer, position) => events.push((consumer.clone(), *position)),
                Id::Received(position) => received.push(*position),
            }
        }
        Self {
            jobs: Some(jobs),
            events: Some(events),
            received: Some(received),
        }
    }
}

async fn retry<S: Service>(db: &PgPool, ids: &[Id]) -> anyhow::Result<()> {
    let chosen = Chosen::new(ids);
    let events = chosen.events.as_deref();
    anyhow::ensure!(
        S::PUBLISHES || events.unwrap_or_default().is_empty(),
        "this service publishes no events"
    );
    let received = chosen.received.as_deref();
    anyhow::ensure!(
        S::RECEIVES || received.unwrap_or_default().is_empty(),
        "this service receives no events"
    );
    let now = Clock::system().now();
    let mut retried = rounds(db, async |db| {
        jobs::retry(db, chosen.jobs.as_deref(), BATCH).await
    })
    .await?;
    if S::PUBLISHES {
        retried += rounds(db, async |db| events::retry(db, events, now, BATCH).await).await?;
    }
    if S::RECEIVES {
        retried += rounds(db, async |db| {
            received::retry(db, received, now, BATCH).await
        })
        .await?;
    }
    let letters = if retried == 1 {
        "dead letter is"
    } else {
        "dead letters are"
    };
    eprintln!("{retried} {letters} tried again");
    let named = u64::try_from(ids.len())?;
    anyhow::ensure!(
        retried >= named,
        "{} of these ids name no dead letter",
        named - retried
    );
    Ok(())
}

/// Statements of up to [`BATCH`] rows, until one has fewer.
async fn rounds(
    db: &PgPool,
    statement: impl AsyncFn(&mut PgConnection) -> Result<u64, sqlx::Error>,
) -> anyhow::Result<u64> {
    let mut rows = 0;
    loop {
        let mut db = quartet_db::write(db).await?;
        let batch = statement(&mut *db).await?;
        db.commit().await?;
        rows += batch;
        if batch < BATCH.unsigned_abs() {
            return Ok(rows);
        }
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_where_a_dead_letter_is() {
        assert_eq!("job/12".parse(), Ok(Id::Job(12)));
        assert_eq!(
            "event/media/7".parse(),
            Ok(Id::Event("media".to_owned(), 7))
        );
        assert_eq!("received/7".parse(), Ok(Id::Received(7)));
        for text in [
            "",
            "12",
            "received/x",
            "job",
            "job/x",
            "job/1/2",
            "event/7",
            "event/media/7/8",
        ] {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
    }
}
