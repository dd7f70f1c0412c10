//! The database of one test, in the shared throw-away cluster or in its own.

use std::path::Path;

use quartet_devstack::roles::{self, Passwords};
use quartet_devstack::{Options, Postgres, PostgresUrl, secret};
use tokio::task::block_in_place;

/// Names a superuser's connection to the Postgres for tests.
const ADMIN_URL: &str = "QUARTET_TEST_DATABASE_URL";
/// Roles belong to a whole cluster: tests that share it have to use the same passwords.
const SHARED_PASSWORD: &str = "test";

/// Tables that change without a request, or that record refused ones.
const BOOKKEEPING: [&str; 1] = ["links.salts"];
/// Those of the queues, to which the clock adds jobs.
const QUEUE: &str = "._private_";

/// Dropped with its contents at the end of the test.
#[derive(Debug)]
pub(crate) struct Database {
    postgres: Postgres,
    url: PostgresUrl,
    passwords: Passwords,
}

impl Database {
    /// A database in the cluster that `cargo xtask test` started.
    pub(crate) fn shared(directory: &Path) -> Self {
        let named = std::env::var(ADMIN_URL)
            .unwrap_or_else(|_| panic!("{ADMIN_URL} is not set; run `cargo xtask e2e`"));
        let options = Options {
            named: Some(named.parse().expect("the URL of a Postgres server")),
            ..Options::throw_away()
        };
        let postgres = Postgres::find_or_start(&options).unwrap();
        for service in roles::SERVICES {
            for role in ["", "-owner"] {
                let file = directory.join(format!("postgres-{service}{role}"));
                secret::write(&file, SHARED_PASSWORD).unwrap();
            }
        }
        Self::create(postgres, Passwords::load_or_create(directory).unwrap())
    }

    /// A server of its own, which can be stopped, killed and started again.
    pub(crate) fn own() -> Self {
        let postgres = Postgres::find_or_start(&Options::throw_away()).unwrap();
        let this = Self::create(postgres, Passwords::random().unwrap());
        // Throw-away servers respond before a commit is written. One that will be killed must not.
        let sql = format!(
            "ALTER DATABASE {} SET synchronous_commit = on",
            this.url.database()
        );
        this.postgres.query(&this.url, &sql).unwrap();
        this
    }

    fn create(postgres: Postgres, passwords: Passwords) -> Self {
        let name = format!("e2e_{:016x}", rand::random::<u64>());
        let url = postgres.create_database(&name).unwrap();
        roles::apply(&postgres, &url, &passwords).unwrap();
        Self {
            postgres,
            url,
            passwords,
        }
    }

    /// Its URL, and the passwords of the services' roles.
    pub(super) fn connection(&self) -> (PostgresUrl, Passwords) {
        (self.url.clone(), self.passwords.clone())
    }

    /// Runs SQL as the superuser, past row-level security; rows are unaligned lines.
    pub(crate) fn query(&self, sql: &str) -> String {
        let rows = block_in_place(|| self.postgres.query(&self.url, sql)).unwrap();
        rows.trim().to_owned()
    }

    /// A query that returns one number.
    pub(crate) fn count(&self, sql: &str) -> u64 {
        let text = self.query(sql);
        text.parse()
            .unwrap_or_else(|_| panic!("not a count: {text} ({sql})"))
    }

    /// The number of rows in each table of the services, except [`BOOKKEEPING`] and [`QUEUE`].
    pub(crate) fn row_counts(&self) -> Vec<(String, u64)> {
        let tables = self.query(
            "SELECT n.nspname || '.' || c.relname
             FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE n.nspname IN ('core', 'media', 'links') AND c.relkind IN ('r', 'p')
               AND NOT c.relispartition ORDER BY 1",
        );
        let counted = tables
            .lines()
            .filter(|table| !BOOKKEEPING.contains(table) && !table.contains(QUEUE));
        let counts: Vec<String> = counted
            .map(|table| format!("SELECT '{table}', count(*) FROM {table}"))
            .collect();
        let rows = self.query(&counts.join(" UNION ALL "));
        let pairs = rows
            .lines()
            .map(|row| row.split_once('|').expect("two columns"));
        pairs
            .map(|(table, count)| (table.to_owned(), count.parse().expect("a count")))
            .collect()
    }

    /// Kills or stops the server, runs `meanwhile`, starts it again. Own servers only.
    pub(crate) async fn outage<F: Future<Output = ()>>(&mut self, kill: bool, meanwhile: F) {
        block_in_place(|| {
            if kill {
                self.postgres.kill()
            } else {
                self.postgres.stop()
            }
        })
        .unwrap();
        meanwhile.await;
        block_in_place(|| self.postgres.start()).unwrap();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.postgres.is_ours() {
            return;
        }
        let sql = format!(
            "DROP DATABASE IF EXISTS {} WITH (FORCE)",
            self.url.database()
        );
        if let Err(error) = self.postgres.query(self.postgres.admin_url(), &sql) {
            eprintln!("{} could not be dropped: {error}", self.url.database());
        }
    }
}
