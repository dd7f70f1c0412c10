//! The tables of the queue, in the schema of the service.

use graphile_worker::{Database, WorkerUtils};
use quartet_db::statement;
use sqlx::{AssertSqlSafe, PgPool};

/// Creates or updates the queue in `schema`, as the owner of the schema. Replicas may do so at the same
/// time: one waits for the other.
///
/// The crate enables row-level security without policies, so that only the owner could use its tables.
/// Here the privileges of the schema decide, as for every other table.
///
/// # Errors
/// When the database fails or is older than Postgres 12.
pub async fn migrate(owner: &PgPool, schema: &'static str) -> anyhow::Result<()> {
    let db = quartet_db::migrating(owner).await?;
    let result = run(&db, schema).await;
    db.close().await;
    result
}

async fn run(db: &PgPool, schema: &'static str) -> anyhow::Result<()> {
    // The crate would create the schema as well, which needs a privilege on the database even where
    // the schema exists.
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {schema}.migrations (
             id integer PRIMARY KEY,
             ts timestamptz NOT NULL DEFAULT now(),
             breaking boolean NOT NULL DEFAULT false)"
    );
    let disable = format!(
        "DO $$ DECLARE name text; BEGIN
             FOR name IN SELECT c.relname FROM pg_class AS c
                 WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind = 'r'
                   AND c.relrowsecurity AND c.relname LIKE '\\_private\\_%'
             LOOP
                 EXECUTE format('ALTER TABLE {schema}.%I DISABLE ROW LEVEL SECURITY', name);
             END LOOP;
         END $$"
    );
    let create = sqlx::raw_sql(AssertSqlSafe(create));
    statement("tasks.create_migrations_table", create.execute(db)).await?;
    WorkerUtils::new(Database::from(db.clone()), schema)
        .migrate()
        .await?;
    let disable = sqlx::raw_sql(AssertSqlSafe(disable));
    statement("tasks.disable_row_security", disable.execute(db)).await?;
    // As for the table of the other migrations: the role that serves must not change what has run.
    let protect = format!(
        "DO $$ BEGIN
             IF to_regrole('quartet_{schema}') IS NOT NULL AND current_user <> 'quartet_{schema}' THEN
                 REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON {schema}.migrations FROM quartet_{schema};
             END IF;
         END $$"
    );
    let protect = sqlx::raw_sql(AssertSqlSafe(protect));
    statement("tasks.protect_migrations_table", protect.execute(db)).await?;
    Ok(())
}
