//! The queue's way to the database: through `quartet_db`, as all statements of a service.
//!
//! The driver of `graphile_worker` prepares a statement in one round trip and runs it in another, on
//! a bare connection. Behind a pooler in transaction mode the second may reach a session that has
//! never seen the statement. Here a pooled statement has a transaction, which ends with it.

use std::any::Any;

use graphile_worker::{
    BoxFuture, DatabaseDriver, DbError, DbExecutor, DbExecutorArg, DbParams, DbRow, DbTransaction,
    NotificationStream, TransactionDriver,
};
use quartet_db::answered;
use sqlx::PgPool;
use tokio::sync::Mutex;

#[derive(Debug)]
pub(crate) struct Driver(pub(crate) PgPool);

impl DbExecutor for Driver {
    fn execute<'a>(
        &'a self,
        sql: &'a str,
        params: DbParams,
    ) -> BoxFuture<'a, Result<u64, DbError>> {
        Box::pin(async move {
            let mut db = quartet_db::write(&self.0).await?;
            let execute = async { DbExecutorArg::execute(&mut &mut *db, sql, params).await };
            let affected = answered(execute).await?;
            db.commit().await?;
            Ok(affected)
        })
    }

    // What returns rows may write, too.
    fn fetch_all<'a>(
        &'a self,
        sql: &'a str,
        params: DbParams,
    ) -> BoxFuture<'a, Result<Vec<DbRow>, DbError>> {
        Box::pin(async move {
            let mut db = quartet_db::write(&self.0).await?;
            let fetch = async { DbExecutorArg::fetch_all(&mut &mut *db, sql, params).await };
            let rows = answered(fetch).await?;
            db.commit().await?;
            Ok(rows)
        })
    }
}

impl DatabaseDriver for Driver {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn begin(&self) -> BoxFuture<'_, Result<DbTransaction, DbError>> {
        Box::pin(async move {
            let transaction = quartet_db::begin(&self.0).await?;
            let transaction = Transaction(Mutex::new(transaction));
            Ok(DbTransaction::new(Box::new(transaction)))
        })
    }

    /// None: it would need a session of its own.
    fn listen<'a>(
        &'a self,
        _channel: &'a str,
    ) -> BoxFuture<'a, Result<Option<NotificationStream>, DbError>> {
        Box::pin(async { Ok(None) })
    }
}

struct Transaction(Mutex<quartet_db::Transaction>);

impl DbExecutor for Transaction {
    fn execute<'a>(
        &'a self,
        sql: &'a str,
        params: DbParams,
    ) -> BoxFuture<'a, Result<u64, DbError>> {
        Box::pin(async move {
            let mut db = self.0.lock().await;
            answered(async { DbExecutorArg::execute(&mut &mut **db, sql, params).await }).await
        })
    }

    fn fetch_all<'a>(
        &'a self,
        sql: &'a str,
        params: DbParams,
    ) -> BoxFuture<'a, Result<Vec<DbRow>, DbError>> {
        Box::pin(async move {
            let mut db = self.0.lock().await;
            answered(async { DbExecutorArg::fetch_all(&mut &mut **db, sql, params).await }).await
        })
    }
}

impl TransactionDriver for Transaction {
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), DbError>> {
        Box::pin(async move { Ok(self.0.into_inner().commit().await?) })
    }
}
