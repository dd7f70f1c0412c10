use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use quartet_devstack::http;

use crate::sandbox::{Sandbox, eventually};

const GATEWAY: usize = 0;
const MEDIA: usize = 3;
const POSTGRES: usize = 6;

#[test]
fn it_starts_everything_and_ctrl_c_stops_everything() {
    let sandbox = Sandbox::new();
    let mut run = sandbox.start(&["up"]);
    let said = run.wait_for("Ctrl-C stops everything.");
    let address = format!("http://localhost:{}", sandbox.ports[GATEWAY]);
    for expected in [
        "Building",
        "Postgres",
        "Roles and schemas",
        "Starting quartet-core",
        "/docs",
    ] {
        assert!(said.contains(expected), "no {expected} in:\n{said}");
    }
    assert!(said.contains(&format!("s: {address}\n")), "{said}");
    let answer = http::get(sandbox.address(GATEWAY), "/", Duration::from_secs(5)).unwrap();
    assert_eq!(answer.status, 200);

    run.signal("INT");
    let (status, errors) = run.end();
    assert!(status.success(), "{errors}");
    assert!(sandbox.is_quiet());
}

#[test]
fn secrets_are_for_their_owner_and_never_printed() {
    let sandbox = Sandbox::new();
    let mut run = sandbox.start(&["up"]);
    let said = run.wait_for("Ctrl-C stops everything.");
    run.signal("TERM");
    assert!(run.end().0.success());
    let mut count = 0;
    for entry in fs::read_dir(sandbox.data().join("secrets")).unwrap() {
        let path = entry.unwrap().path();
        let secret = fs::read_to_string(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        assert!(!said.contains(secret.trim()), "{}", path.display());
        count += 1;
    }
    assert!(count >= 5, "{count}");
}

#[test]
fn a_second_start_keeps_the_data_and_fresh_wipes_it() {
    let sandbox = Sandbox::new();
    let secret = sandbox.data().join("secrets/postgres");
    let kept = || fs::read_to_string(&secret).unwrap();
    let start = |arguments: &[&str]| {
        let mut run = sandbox.start(arguments);
        let said = run.wait_for("Ctrl-C stops everything.");
        run.signal("INT");
        assert!(run.end().0.success());
        said
    };
    assert!(start(&["up"]).contains("new database"));
    let first = kept();
    assert!(!start(&["up"]).contains("new database"));
    assert_eq!(kept(), first);
    let said = start(&["up", "--fresh"]);
    let removed = format!("Removing {}", sandbox.data().join("postgres").display());
    assert!(
        said.contains(&removed) && said.contains("new database"),
        "{said}"
    );
    assert_ne!(kept(), first);
}

#[test]
fn a_crashed_service_is_named_with_its_last_lines() {
    let sandbox = Sandbox::new();
    let mut run = sandbox.start(&["up"]);
    run.wait_for("Ctrl-C stops everything.");
    let _ = http::get(sandbox.address(MEDIA), "/crash", Duration::from_secs(5));
    let (status, errors) = run.end();
    assert_eq!(status.code(), Some(1));
    for expected in [
        "error: quartet-media stopped by itself",
        "exit status: 7",
        "the disk is on fire",
    ] {
        assert!(errors.contains(expected), "no {expected} in:\n{errors}");
    }
    assert!(sandbox.is_quiet());
}

#[test]
fn nothing_is_left_when_it_is_killed() {
    let sandbox = Sandbox::new();
    let mut run = sandbox.start(&["up"]);
    run.wait_for("Ctrl-C stops everything.");
    run.signal("KILL");
    run.end();
    // Without a pause: the next run waits for the rest of the first.
    let mut next = sandbox.start(&["up"]);
    let said = next.wait_for("Ctrl-C stops everything.");
    assert!(!said.contains("new database"), "{said}");
    next.signal("KILL");
    next.end();
    eventually("all parts are gone", || sandbox.is_quiet());
}

#[test]
fn a_taken_port_is_found_before_anything_starts() {
    let sandbox = Sandbox::new();
    let _media = TcpListener::bind(sandbox.address(MEDIA)).unwrap();
    let _postgres = TcpListener::bind(sandbox.address(POSTGRES)).unwrap();
    let (status, errors) = sandbox.start(&["up"]).end();
    assert_eq!(status.code(), Some(1));
    for (part, name) in [(MEDIA, "quartet-media"), (POSTGRES, "Postgres")] {
        let port = sandbox.ports[part];
        assert!(
            errors.contains(&format!("port {port} is taken")),
            "{errors}"
        );
        assert!(errors.contains(&format!("{name} needs it")), "{errors}");
    }
    if cfg!(target_os = "linux") {
        let holder = format!("(process {})", std::process::id());
        assert!(errors.contains(&holder), "{errors}");
    }
    assert!(!sandbox.data().join("postgres").exists());
}

#[test]
fn two_at_once_are_one_message() {
    let sandbox = Sandbox::new();
    let mut run = sandbox.start(&["up"]);
    run.wait_for("Ctrl-C stops everything.");
    let (status, errors) = sandbox.start(&["up"]).end();
    assert_eq!(status.code(), Some(1));
    assert!(errors.contains("already runs"), "{errors}");
    assert!(errors.contains(&format!("kill {}", run.pid())), "{errors}");
    run.signal("INT");
    assert!(run.end().0.success());
}

#[test]
fn ctrl_c_while_it_starts_leaves_nothing() {
    let sandbox = Sandbox::new();
    let mut run = sandbox.start(&["up"]);
    run.wait_for("Starting quartet-core");
    run.signal("INT");
    run.end();
    assert!(sandbox.is_quiet());
}

#[test]
fn db_does_not_disturb_a_running_up() {
    let sandbox = Sandbox::new();
    let mut run = sandbox.start(&["up"]);
    run.wait_for("Ctrl-C stops everything.");
    let (status, errors) = sandbox.start(&["db"]).end();
    assert_eq!(status.code(), Some(1));
    assert!(errors.contains("already runs"), "{errors}");
    run.signal("INT");
    assert!(run.end().0.success());
}
