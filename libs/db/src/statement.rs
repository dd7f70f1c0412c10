//! Statements with a name, and transactions in the name of a user.

use quartet_telemetry::{count_statement, span, spans_enabled};
use sqlx::{PgPool, PgTransaction};

use crate::connections::{begin, begin_with};

/// Runs one SQL statement. `name` is the resource and the verb, such as `users.insert`.
///
/// The statement is counted in the response line of the request (`db_statements`) and, where spans
/// are exported, has a span `db.NAME`. Outside requests and without OTLP it costs nothing.
///
/// # Errors
/// What the statement returns.
pub async fn statement<T>(
    name: &'static str,
    run: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    count_statement();
    if spans_enabled() {
        return span(&format!("db.{name}"), run).await;
    }
    run.await
}

/// Begins a transaction that row-level security limits to the rows of `user`.
///
/// The setting ends with the transaction, so it works behind PgBouncer in transaction mode, too.
///
/// # Errors
/// When the database does not respond.
pub async fn begin_as(db: &PgPool, user: &str) -> Result<PgTransaction<'static>, sqlx::Error> {
    if is_plain(user) {
        let set = format!("SET LOCAL quartet.user_id = '{user}'");
        return statement("session.set_user", begin_with(db, &set)).await;
    }
    let mut tx = begin(db).await?;
    let set = sqlx::query("SELECT set_config('quartet.user_id', $1, true)").bind(user);
    statement("session.set_user", set.execute(&mut *tx)).await?;
    Ok(tx)
}

/// Whether a subject can stand in a statement as it is: one round trip instead of two.
fn is_plain(user: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:@|".contains(&byte);
    user.bytes().all(plain)
}
