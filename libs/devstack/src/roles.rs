//! The database roles of `db/roles.sql`: two per service, for its schema.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::postgres::{Postgres, PostgresUrl};
use crate::{secret, workspace};

/// The services that have a schema; `core` runs as `quartet_core` and migrates as
/// `quartet_core_owner`.
pub const SERVICES: [&str; 3] = ["core", "media", "links"];

/// The passwords of both roles of each service, by `core` and `core-owner`.
#[derive(Clone)]
pub struct Passwords(BTreeMap<String, String>);

impl Passwords {
    /// The passwords kept in `secrets`, created where missing.
    pub fn load_or_create(secrets: &Path) -> Result<Self> {
        Self::new(|role| secret::load_or_create(secrets, &format!("postgres-{role}")))
    }

    /// New passwords that are not stored.
    pub fn random() -> Result<Self> {
        Self::new(|_| secret::random_hex())
    }

    fn new(password: impl Fn(&str) -> Result<String>) -> Result<Self> {
        let mut passwords = BTreeMap::new();
        for service in SERVICES {
            for role in [service.to_owned(), format!("{service}-owner")] {
                let password = password(&role)?;
                passwords.insert(role, password);
            }
        }
        Ok(Self(passwords))
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
    let variable =
        |role: &str| format!("QUARTET_{}_PASSWORD", role.to_uppercase().replace('-', "_"));
    let passwords = passwords.0.iter();
    let environment: Vec<(String, &str)> = passwords
        .map(|(role, password)| (variable(role), password.as_str()))
        .collect();
    let mut attempt = 1;
    loop {
        match postgres.run_file(database, &file, true, &environment) {
            // Roles belong to the whole server, and two databases may be set up at the same time.
            Err(error) if attempt < 5 && is_race(&error.to_string()) => {
                sleep(Duration::from_millis(50 * attempt));
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

fn is_race(error: &str) -> bool {
    error.contains("tuple concurrently updated") || error.contains("pg_authid_rolname_index")
}

/// The URL by which a service connects to the database as the role that serves requests.
pub fn url(database: &PostgresUrl, service: &str, passwords: &Passwords) -> Result<PostgresUrl> {
    let password = passwords.0.get(service);
    let password = password.with_context(|| format!("{service} has no database role"))?;
    Ok(database.with_user(&format!("quartet_{}", service.replace('-', "_")), password))
}

/// The URL by which it migrates its schema, as the role that owns it.
pub fn owner_url(
    database: &PostgresUrl,
    service: &str,
    passwords: &Passwords,
) -> Result<PostgresUrl> {
    url(database, &format!("{service}-owner"), passwords)
}
