//! Statements with a name, and transactions in the name of principals.

use std::time::Duration;

use quartet_common::principal::Principal;
use quartet_telemetry::{count_statement, span, spans_enabled};
use sqlx::PgPool;

use crate::{
    connections::{begin, begin_with, wait_of},
    transaction::Transaction,
    unanswered::bounded,
};

/// Runs one SQL statement. `name` is the resource and the verb, such as `users.insert`.
///
/// The statement and its time are part of the response line of the request (`db_statements`, `db_ms`)
/// and, where spans are exported, it has a span `db.NAME`. Outside requests and without OTLP it costs nothing.
///
/// # Errors
/// What the statement returns; a transient error if the database does not answer for longer than
/// `database.statement_timeout_seconds` and a few seconds more.
pub fn statement<T>(
    name: &'static str,
    run: impl Future<Output = Result<T, sqlx::Error>>,
) -> impl Future<Output = Result<T, sqlx::Error>> {
    statement_within(Duration::ZERO, name, run)
}

/// Waits for `beyond` longer than for a statement.
fn statement_within<T>(
    beyond: Duration,
    name: &'static str,
    run: impl Future<Output = Result<T, sqlx::Error>>,
) -> impl Future<Output = Result<T, sqlx::Error>> {
    let run = bounded(beyond, run);
    async move {
        let _timer = count_statement();
        if spans_enabled() {
            return span(&format!("db.{name}"), run).await;
        }
        run.await
    }
}

/// Begins a transaction that row-level security limits to the rows of `principals`.
///
/// The setting ends with the transaction, so it works behind PgBouncer in transaction mode, too.
///
/// # Errors
/// When the database does not respond.
pub async fn begin_as(db: &PgPool, principals: &[Principal]) -> Result<Transaction, sqlx::Error> {
    let array = array_literal(principals);
    if principals.iter().all(is_plain) {
        let set = format!("SET LOCAL quartet.principals = '{array}'");
        let begin = begin_with(db, &set);
        return statement_within(wait_of(db), "session.set_principals", begin).await;
    }
    let mut tx = begin(db).await?;
    let set = sqlx::query("SELECT set_config('quartet.principals', $1, true)").bind(array);
    statement("session.set_principals", set.execute(&mut *tx)).await?;
    Ok(tx)
}

/// A `text[]` as Postgres reads it. Every element is quoted: `NULL` would not be a name otherwise.
fn array_literal(principals: &[Principal]) -> String {
    let mut literal = String::from("{");
    for (index, principal) in principals.iter().enumerate() {
        if index > 0 {
            literal.push(',');
        }
        literal.push('"');
        for character in principal.as_str().chars() {
            if matches!(character, '"' | '\\') {
                literal.push('\\');
            }
            literal.push(character);
        }
        literal.push('"');
    }
    literal.push('}');
    literal
}

/// Whether a name can stand in a statement as it is: one round trip instead of two.
fn is_plain(principal: &Principal) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:@|".contains(&byte);
    principal.as_str().bytes().all(plain)
}
