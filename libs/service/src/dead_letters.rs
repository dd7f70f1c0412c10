//! `dead-letters`: what has failed for good, of events and durable jobs alike.
//!
//! A dead letter is named by where it is: `job/ID`, `event/CONSUMER/POSITION` in the service that has
//! published the event, or `received/POSITION` in the one that has taken it from a stream.

use std::{fmt, fmt::Write as _, str::FromStr};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{ArgGroup, Subcommand};
use quartet_common::{cli::print, clock::Clock, config::Database};
use quartet_db::{Rounds, ensure_current, explain, rounds};
use quartet_events::dead_letters::{DeadLetters, PUBLISHED, Place, RECEIVED};
use quartet_worker::dead_letters as jobs;
use serde_json::{Value, json};
use sqlx::PgPool;

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
    Event(Place),
}

impl Id {
    fn event(consumer: Option<String>, position: i64) -> Self {
        Self::Event(Place { consumer, position })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(id) => write!(f, "job/{id}"),
            Self::Event(Place { consumer, position }) => match consumer {
                Some(consumer) => write!(f, "event/{consumer}/{position}"),
                None => write!(f, "received/{position}"),
            },
        }
    }
}

impl FromStr for Id {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/');
        let number = |part: Option<&str>| part.and_then(|part| part.parse().ok());
        let id = match parts.next() {
            Some("job") => number(parts.next()).map(Self::Job),
            Some("event") => {
                let consumer = parts.next().map(str::to_owned);
                let place = consumer.zip(number(parts.next()));
                place.map(|(consumer, position)| Self::event(Some(consumer), position))
            }
            Some("received") => number(parts.next()).map(|position| Self::event(None, position)),
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
        json!({ "id": Id::Job(job.id).to_string(), "task": job.task, "attempts": job.attempts,
                "at": time(job.at), "reason": job.reason })
    }));
    for letters in events::<S>() {
        let dead = letters.list(&mut db, limit + 1).await?;
        more |= dead.len() > kept;
        lines.extend(dead.iter().take(kept).map(|event| {
            json!({ "id": Id::Event(event.place.clone()).to_string(),
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

/// The events that a service may have dead letters of.
fn events<S: Service>() -> impl Iterator<Item = DeadLetters> {
    let published = S::PUBLISHES.then_some(PUBLISHED);
    published.into_iter().chain(S::RECEIVES.then_some(RECEIVED))
}

/// Tries dead letters again: those of `ids`, or all without any.
async fn retry<S: Service>(db: &PgPool, ids: &[Id]) -> anyhow::Result<()> {
    let (mut job_ids, mut places) = (Vec::new(), Vec::new());
    for id in ids {
        match id {
            Id::Job(id) => job_ids.push(*id),
            Id::Event(place) => places.push(place.clone()),
        }
    }
    let publishes = S::PUBLISHES || places.iter().all(|place| place.consumer.is_none());
    anyhow::ensure!(publishes, "this service publishes no events");
    let receives = S::RECEIVES || places.iter().all(|place| place.consumer.is_some());
    anyhow::ensure!(receives, "this service receives no events");
    let job_ids = (!ids.is_empty()).then_some(&job_ids[..]);
    let places = (!ids.is_empty()).then_some(&places[..]);
    let now = Clock::system().now();
    let rounds = Rounds {
        db,
        limit: BATCH,
        stopping: &|| false,
    };
    let mut retried = rounds!(rounds, |db, limit| jobs::retry(db, job_ids, limit));
    for letters in events::<S>() {
        retried += rounds!(rounds, |db, limit| letters.retry(db, places, now, limit));
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

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_where_a_dead_letter_is() {
        for (text, id) in [
            ("job/12", Id::Job(12)),
            ("event/media/7", Id::event(Some("media".to_owned()), 7)),
            ("received/7", Id::event(None, 7)),
        ] {
            assert_eq!(
                (text.parse().as_ref(), id.to_string().as_str()),
                (Ok(&id), text)
            );
        }
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
