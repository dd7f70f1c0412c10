//! A binary that cannot start prints one line that names the cause.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use quartet_testing::TestDatabase;

const GOOD_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Nothing listens on port 1.
const UNREACHABLE: &str = "postgres://user:secret@127.0.0.1:1/nothing";

#[test]
fn a_failed_start_prints_one_line_with_the_cause() {
    let cases: [(&[(&str, &str)], &str); 4] = [
        (
            &[],
            "quartet-core: setting `keys.master_key` (QUARTET_KEYS_MASTER_KEY): must be 64 \
             hexadecimal digits; generate it with `openssl rand -hex 32`\n",
        ),
        (
            &[("QUARTET_KEYS_MASTER_KEY", GOOD_KEY)],
            "quartet-core: setting `database.url` (QUARTET_DATABASE_URL): must be set\n",
        ),
        (
            &[("QUARTET_DATABASE_URL_FILE", "/run/secrets/none")],
            "quartet-core: QUARTET_DATABASE_URL_FILE: cannot read /run/secrets/none: \
             No such file or directory (os error 2)\n",
        ),
        (
            &[
                ("QUARTET_KEYS_MASTER_KEY", GOOD_KEY),
                ("QUARTET_DATABASE_URL", UNREACHABLE),
                ("QUARTET_DATABASE_ACQUIRE_TIMEOUT_SECONDS", "1"),
            ],
            "quartet-core: the database does not respond: error communicating with database: \
             Connection refused (os error 111)\n",
        ),
    ];
    for (environment, expected) in cases {
        assert_eq!(refusal(environment), expected);
    }
}

fn refusal(environment: &[(&str, &str)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_quartet-core"))
        .arg("serve")
        .env_clear()
        .env("QUARTET_SERVER_LISTEN", "127.0.0.1:0")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn serve_waits_for_a_database_that_is_not_migrated_yet() {
    let database = TestDatabase::empty("core").await;
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quartet-core"));
        command
            .args(arguments)
            .env_clear()
            .env("QUARTET_SERVER_LISTEN", "127.0.0.1:0")
            .env("QUARTET_KEYS_MASTER_KEY", GOOD_KEY)
            .env("QUARTET_DATABASE_URL", database.url());
        command
    };
    let refused = command(&["serve"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));

    let mut serving = command(&["serve", "--wait"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(serving.stdout.take().unwrap()).lines();
    let mut until = |text: &str| lines.by_ref().any(|line| line.unwrap().contains(text));
    assert!(until("waiting for the database"));
    assert!(command(&["migrate"]).status().unwrap().success());
    assert!(until("listening"));
    serving.kill().unwrap();
    serving.wait().unwrap();
}
