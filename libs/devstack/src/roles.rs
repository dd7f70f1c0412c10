//! The database roles of `db/roles.sql`: one per service, each with its schema.

use std::fmt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::postgres::{Postgres, PostgresUrl};
use crate::{secret, workspace};

/// The services that have a schema; the role of `core` is `quartet_core`.
pub const SERVICES: [&str; 3] = ["core", "media", "links"];

/// A password per service.
#[derive(Clone)]
pub struct Passwords([String; 3]);

impl Passwords {
    /// The passwords kept in `secrets`, created where missing.
    pub fn load_or_create(secrets: &Path) -> Result<Self> {
        let [core, media, links] =
            SERVICES.map(|service| secret::load_or_create(secrets, &format!("postgres-{service}")));
        Ok(Self([core?, media?, links?]))
    }

    /// New passwords that are not stored.
    pub fn random() -> Result<Self> {
        let [core, media, links] = SERVICES.map(|_| secret::random_hex());
        Ok(Self([core?, media?, links?]))
    }

    fn of(&self, service: &str) -> Result<&str> {
        SERVICES
            .iter()
            .position(|&each| each == service)
            .map(|index| self.0[index].as_str())
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
    let [core, media, links] = &passwords.0;
    let environment = [
        ("QUARTET_CORE_PASSWORD", core.as_str()),
        ("QUARTET_MEDIA_PASSWORD", media.as_str()),
        ("QUARTET_LINKS_PASSWORD", links.as_str()),
    ];
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

/// The URL by which a service connects to the database as its own role.
pub fn url(database: &PostgresUrl, service: &str, passwords: &Passwords) -> Result<PostgresUrl> {
    Ok(database.with_user(&format!("quartet_{service}"), passwords.of(service)?))
}
