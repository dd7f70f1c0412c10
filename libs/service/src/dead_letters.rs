//! `dead-letters`: what has failed for good, of events and durable jobs alike.
//!
//! A dead letter is named by where it is: `job/ID`, or `event/CONSUMER/POSITION`.

use std::{fmt::Write as _, str::FromStr};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Subcommand;
use quartet_common::{cli::print, clock::Clock, config::Database};
use quartet_events::outbox::dead_letters as events;
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
    Retry {
        /// What `list` prints as `id`. At most 1000.
        #[arg(required_unless_present = "all", conflicts_with = "all", num_args = 1..=1000)]
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
            _ => None,
        };
        id.filter(|_| parts.next().is_none())
            .ok_or("must be job/ID or event/CONSUMER/POSITION")
    }
}

pub(crate) fn run<S: Service>(settings: &Database, command: Command) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let db = quartet_db::pool(settings, &format!("quartet-{}-dead-letters", S::NAME))?;
            match command {
                Command::List { limit } => list(&db, S::PUBLISHES, limit).await,
                Command::Retry { ids, .. } => retry(&db, S::PUBLISHES, &ids).await,
            }
        })
}

async fn list(db: &PgPool, publishes: bool, limit: i64) -> anyhow::Result<()> {
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
    if publishes {
        let dead = events::list(&mut db, limit + 1).await?;
        more |= dead.len() > kept;
        lines.extend(dead.iter().take(kept).map(|event| {
            json!({ "id": format!("event/{}/{}", event.consumer, event.position),
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

async fn retry(db: &PgPool, publishes: bool, ids: &[Id]) -> anyhow::Result<()> {
    let (mut of_jobs, mut of_events) = (Vec::new(), Vec::new());
    for id in ids {
        match id {
            Id::Job(id) => of_jobs.push(*id),
            Id::Event(consumer, position) => of_events.push((consumer.clone(), *position)),
        }
    }
    let all = ids.is_empty();
    anyhow::ensure!(
        publishes || of_events.is_empty(),
        "this service publishes no events"
    );
    let now = Clock::system().now();
    let (mut retried, full) = (0, BATCH.unsigned_abs());
    while all || !of_jobs.is_empty() {
        let mut db = quartet_db::write(db).await?;
        let batch = jobs::retry(&mut db, (!all).then_some(&of_jobs), BATCH).await?;
        db.commit().await?;
        retried += batch;
        if batch < full {
            break;
        }
    }
    while publishes && (all || !of_events.is_empty()) {
        let mut db = quartet_db::write(db).await?;
        let places = (!all).then_some(of_events.as_slice());
        let batch = events::retry(&mut db, places, now, BATCH).await?;
        db.commit().await?;
        retried += batch;
        if batch < full {
            break;
        }
    }
    eprintln!("{retried} dead letters are tried again");
    let named = u64::try_from(ids.len())?;
    anyhow::ensure!(retried >= named, "{} are no dead letters", named - retried);
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
        assert_eq!("job/12".parse(), Ok(Id::Job(12)));
        assert_eq!(
            "event/media/7".parse(),
            Ok(Id::Event("media".to_owned(), 7))
        );
        for text in [
            "",
            "12",
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
