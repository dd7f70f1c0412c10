//! What a failed statement means.

use quartet_common::problem::{Problem, kinds};

/// The response to a request whose statement failed: 503 if a retry may succeed, 500 otherwise.
pub fn problem(error: sqlx::Error) -> Problem {
    if is_transient(&error) {
        return Problem::not_now(&kinds::DATABASE_UNAVAILABLE).source(error);
    }
    Problem::internal(error)
}

/// Whether the same statement may succeed soon: the database is unreachable, starting, overloaded or
/// stopping.
pub fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            // Connection errors, insufficient resources, operator intervention, serialization, deadlock,
            // and "read-only" from a server that has just become a standby.
            code.starts_with("08")
                || code.starts_with("53")
                || code.starts_with("57")
                || ["40001", "40P01", "25006"].contains(&code.as_ref())
        }),
        _ => false,
    }
}

/// The name of the constraint that the statement violated.
pub fn constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error()?.constraint()
}
