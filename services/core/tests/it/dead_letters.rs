//! The subcommand `dead-letters`.

use std::process::Command;

use quartet_core::MIGRATOR;
use quartet_testing::{DeadLetters, TestDatabase};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lists_dead_letters_and_has_them_tried_again() {
    let database = TestDatabase::create("core", &MIGRATOR).await;
    let command = DeadLetters {
        program: env!("CARGO_BIN_EXE_quartet-core"),
        database: &database,
        environment: &[],
    };
    let mut db = database.connect_as_role().await;
    for statement in [
        "INSERT INTO outbox (position, id, kind, subject, at, data)
         OVERRIDING SYSTEM VALUE SELECT n, gen_random_uuid(), 'user.deleted', 'usr_ada', now(), '{}'
         FROM generate_series(1, 3) AS n",
        "INSERT INTO outbox_retries SELECT 'media', n, 'usr_ada', 12, now(), 'no', now()
         FROM generate_series(1, 3) AS n",
        "SELECT add_job('purge', max_attempts => 1) FROM generate_series(1, 2)",
        "UPDATE _private_jobs SET attempts = 1, last_error = 'the disk is full'",
    ] {
        sqlx::query(statement).execute(&mut db).await.unwrap();
    }
    let (lines, err) = command.succeed(&["list"]);
    assert_eq!((lines.len(), err.as_str()), (5, ""));
    assert_eq!(lines[0]["task"], "purge");
    assert_eq!(lines[0]["reason"], "the disk is full");
    assert_eq!(lines[2]["id"], "event/media/1");
    assert_eq!(lines[2]["subject"], "usr_ada");
    let (lines, err) = command.succeed(&["list", "--limit", "2"]);
    assert_eq!(
        (lines.len(), err.as_str()),
        (4, "there are more: see --limit\n")
    );
    let job = lines[0]["id"].as_str().unwrap();
    let (_, err) = command.succeed(&["retry", job, "event/media/2"]);
    assert_eq!(err, "2 dead letters are tried again\n");
    let again = command.run(&["retry", job]);
    assert!(!again.status.success(), "it is no longer a dead letter");
    let (lines, _) = command.succeed(&["list"]);
    assert_eq!(lines.len(), 3);
    let (_, err) = command.succeed(&["retry", "--all"]);
    assert_eq!(err, "3 dead letters are tried again\n");
    assert_eq!(command.succeed(&["list"]).0.len(), 0);
    for arguments in [
        &["retry"][..],
        &["retry", "12"],
        &["retry", "received/1"],
        &["retry", "--all", job],
        &["list", "--limit", "1001"],
    ] {
        assert!(!command.run(arguments).status.success(), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_the_schema_or_without_an_answer_is_named() {
    let run = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quartet-core"));
        command.args(["dead-letters", "list"]).env_clear();
        command.env("QUARTET_DATABASE_ACQUIRE_TIMEOUT_SECONDS", "1");
        let output = command.env("DATABASE_URL", url).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    // Nothing listens on port 1.
    assert_eq!(
        run("postgres://user:secret@127.0.0.1:1/nothing"),
        "quartet-core: the database does not respond at 127.0.0.1:1 (database.url): \
         Connection refused (os error 111)\n"
    );
    let message = run("postgres://user:secret@nothing.invalid/nothing");
    let named =
        "quartet-core: the database does not respond at nothing.invalid:5432 (database.url): ";
    assert!(message.starts_with(named), "{message}");
    let empty = TestDatabase::empty("core").await;
    let message = run(&empty.url());
    assert!(message.contains("run `quartet-core migrate`"), "{message}");
}
