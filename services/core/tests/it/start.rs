//! A binary that cannot start prints one line that names the cause.

use std::process::Command;

use quartet_testing::child::survives_hangup;

const GOOD_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Nothing listens on port 1.
const UNREACHABLE: &str = "postgres://user:secret@127.0.0.1:1/nothing";

#[test]
fn a_failed_start_prints_one_line_with_the_cause() {
    let cases: [(&[(&str, &str)], &str); 6] = [
        (
            &[],
            "quartet-core: setting `keys.master_key` (QUARTET_KEYS_MASTER_KEY): must be set; \
             generate it with `openssl rand -hex 32`\n",
        ),
        (
            &[("QUARTET_KEYS_MASTER_KEY", "abc")],
            "quartet-core: setting `keys.master_key` (QUARTET_KEYS_MASTER_KEY): must be 64 \
             hexadecimal digits; generate it with `openssl rand -hex 32`\n",
        ),
        (
            &[("QUARTET_KEYS_MASTER_KEY", GOOD_KEY), ("RUST_LOG", "inof")],
            "quartet-core: setting `telemetry.log` (RUST_LOG): must be a level (error, warn, info, \
             debug, trace, off), or a level and directives such as `info,sqlx=debug`\n",
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

#[test]
fn sighup_ends_no_command() {
    assert!(survives_hangup(env!("CARGO_BIN_EXE_quartet-core")));
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
