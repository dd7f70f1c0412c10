//! Work on more rows than one statement should hold: in rounds.

use std::fmt;

use sqlx::PgPool;

/// What [`rounds!`](crate::rounds) repeats a statement with.
#[derive(Clone, Copy)]
pub struct Rounds<'a> {
    pub db: &'a PgPool,
    /// The most rows of one round.
    pub limit: i64,
    /// Whether the rest is for the next run, as at a shutdown or once the run has taken long.
    pub stopping: &'a (dyn Fn() -> bool + Sync),
}

impl fmt::Debug for Rounds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rounds")
    }
}

impl Rounds<'_> {
    /// Whether a round that has changed `rows` is the last one.
    pub fn end(&self, rows: u64) -> bool {
        rows < self.limit.unsigned_abs() || (self.stopping)()
    }
}

/// Repeats one bounded statement, each time with a connection and the most rows it may change, until
/// a round is not full or the [`Rounds`] are to stop. At least one round runs, so that nothing waits
/// behind work that never ends. Returns the number of rows; on an error, earlier rounds are kept.
///
/// A macro, because a future that holds an async closure with borrows cannot be proved `Send`.
#[macro_export]
macro_rules! rounds {
    ($rounds:expr, |$db:ident, $limit:ident| $statement:expr) => {{
        let (rounds, mut rows): (&$crate::Rounds<'_>, u64) = (&$rounds, 0);
        loop {
            let mut lease = $crate::write(rounds.db).await?;
            let ($db, $limit) = (&mut *lease, rounds.limit);
            let changed: u64 = $statement.await?;
            lease.commit().await?;
            rows += changed;
            if rounds.end(changed) {
                break rows;
            }
        }
    }};
}
