//! The subcommand `dead-letters` of a service that takes events from a stream.

use quartet_media::MIGRATOR;
use quartet_testing::{DeadLetters, TestDatabase};

#[tokio::test(flavor = "multi_thread")]
async fn received_events_that_have_failed_are_listed_and_tried_again() {
    let database = TestDatabase::create("media", &MIGRATOR).await;
    let command = DeadLetters {
        program: env!("CARGO_BIN_EXE_quartet-media"),
        database: &database,
        environment: &[
            ("QUARTET_S3_ACCESS_KEY", "key"),
            ("QUARTET_S3_SECRET_KEY", "secret"),
        ],
    };
    let mut db = database.connect_as_role().await;
    for statement in [
        "INSERT INTO inbox_retries
             (source, id, kind, subject, at, event, tries, retry_at, reason, dead_at)
         SELECT '/v1/core', n, 'user.deleted', 'usr_ada', now(), '{}', 12, now(), 'no', now()
         FROM generate_series(1, 3) AS n",
        "SELECT add_job('purge', max_attempts => 1)",
        "UPDATE _private_jobs SET attempts = 1, last_error = 'the disk is full'",
    ] {
        sqlx::query(statement).execute(&mut db).await.unwrap();
    }
    let (lines, err) = command.succeed(&["list"]);
    assert_eq!((lines.len(), err.as_str()), (4, ""));
    assert_eq!(lines[0]["task"], "purge");
    assert_eq!(lines[1]["id"], "received/1");
    assert_eq!(lines[1]["kind"], "user.deleted");
    assert_eq!(lines[1]["subject"], "usr_ada");
    assert_eq!(lines[1]["attempts"], 12);
    assert_eq!(lines[1]["reason"], "no");
    let (lines, err) = command.succeed(&["list", "--limit", "2"]);
    assert_eq!(
        (lines.len(), err.as_str()),
        (3, "there are more: see --limit\n")
    );
    let (_, err) = command.succeed(&["retry", "received/2"]);
    assert_eq!(err, "1 dead letter is tried again\n");
    let again = command.run(&["retry", "received/2"]);
    assert!(!again.status.success(), "it is no longer a dead letter");
    // It publishes none.
    let published = command.run(&["retry", "event/media/1"]);
    assert!(!published.status.success());
    let (_, err) = command.succeed(&["retry", "--all"]);
    assert_eq!(err, "3 dead letters are tried again\n");
    assert_eq!(command.succeed(&["list"]).0.len(), 0);
}
