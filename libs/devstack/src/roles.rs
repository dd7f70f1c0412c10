//! The database roles of `db/roles.sql`: two per service, for its schema.

use std::fmt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::postgres::{Postgres, PostgresUrl};
use crate::{secret, workspace};

/// The services that have a schema; `core` runs as `quartet_core` and migrates as
/// `quartet_core_owner`.
pub const SERVICES: [&str; 3] = ["core", "media", "links"];

/// The passwords of both roles of each service.
#[derive(Clone)]
pub struct Passwords([Pair; 3]);

#[derive(Clone)]
struct Pair {
    runtime: String,
    owner: String,
}

impl Passwords {
    /// The passwords kept in `secrets`, created where missing.
    pub fn load_or_create(secrets: &Path) -> Result<Self> {
        let [core, media, links] = SERVICES.map(|service| {
            Ok(Pair {
                runtime: secret::load_or_create(secrets, &format!("postgres-{service}"))?,
                owner: secret::load_or_create(secrets, &format!("postgres-{service}-owner"))?,
            })
        });
        Ok(Self([core?, media?, links?]))
    }

    /// New passwords that are not stored.
    pub fn random() -> Result<Self> {
        let [core, media, links] = SERVICES.map(|_| {
            Ok(Pair {
                runtime: secret::random_hex()?,
                owner: secret::random_hex()?,
            })
        });
        Ok(Self([core?, media?, links?]))
    }

    fn of(&self, service: &str) -> Result<&Pair> {
        SERVICES
            .iter()
            .position(|&each| each == service)
            .map(|index| &self.0[index])
            .ok_or_else(|| Error::other(format!("{service} has no database role")))
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passwords(hidden)")
    }
}

/// Creates or updates the roles and schemas in the database. May be repeated.
pub fn apply(postgres: &Postgres, database: &PostgresUrl, passwords: &Passwords) -> Result<()> {
    let file = workspace::root().join("db/roles.sql");
    let environment = SERVICES
        .into_iter()
        .zip(&passwords.0)
        .flat_map(|(service, pair)| {
            let service = service.to_uppercase();
            [
                (format!("QUARTET_{service}_PASSWORD"), &pair.runtime),
                (format!("QUARTET_{service}_OWNER_PASSWORD"), &pair.owner),
            ]
        })
        .collect::<Vec<_>>();
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    for attempt in 1.. {
        match postgres.run_file(database, &file, true, &environment) {
            // Roles belong to the whole server, and two databases may be set up at the same time.
            Err(Error::Program { output, .. }) if attempt < 5 && is_race(&output) => {
                sleep(Duration::from_millis(50 * attempt));
            }
            outcome => return outcome,
        }
    }
    Ok(())
}

fn is_race(output: &str) -> bool {
    output.contains("tuple concurrently updated") || output.contains("pg_authid_rolname_index")
}

/// The URL by which a service connects to the database as the role that serves requests.
pub fn url(database: &PostgresUrl, service: &str, passwords: &Passwords) -> Result<PostgresUrl> {
    let password = &passwords.of(service)?.runtime;
    Ok(database.with_user(&format!("quartet_{service}"), password))
}

/// The URL by which it migrates its schema, as the role that owns it.
pub fn owner_url(
    database: &PostgresUrl,
    service: &str,
    passwords: &Passwords,
) -> Result<PostgresUrl> {
    let password = &passwords.of(service)?.owner;
    Ok(database.with_user(&format!("quartet_{service}_owner"), password))
}
