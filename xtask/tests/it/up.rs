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
fn up_starts_everything_and_ctrl_c_stops_it() {
    let sandbox = Sandbox::new();
    let mut run = sandbox.start(&["up"]);
    let output = run.wait_for("Ctrl-C stops everything.");
    let url = format!("http://localhost:{}", sandbox.ports[GATEWAY]);
    for expected in [
        "Building",
        "Postgres",
        "Roles and schemas",
        "Starting quartet-core",
        "/docs",
    ] {
        assert!(output.contains(expected), "no {expected} in:\n{output}");
    }
    assert!(output.contains(&format!("s: {url}\n")), "{output}");
    let response = http::get(sandbox.address(GATEWAY), "/", Duration::from_secs(5)).unwrap();
    assert_eq!(response.status, 200);

    run.signal("INT");
    let (status, errors) = run.end();
    assert!(status.success(), "{errors}");
    assert!(sandbox.is_stopped());
}

#[test]
fn secrets_are_readable_by_their_owner_and_never_printed() {
    let sandbox = Sandbox::new();
    let mut run = sandbox.start(&["up"]);
    let output = run.wait_for("Ctrl-C stops everything.");
    run.signal("TERM");
    assert!(run.end().0.success());
    let mut count = 0;
    for entry in fs::read_dir(sandbox.data().join("secrets")).unwrap() {
        let path = entry.unwrap().path();
        let secret = fs::read_to_string(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        assert!(!output.contains(secret.trim()), "{}", path.display());
        count += 1;
    }
    assert!(count >= 5, "{count}");
}

#[test]
fn a_second_start_keeps_the_data_and_fresh_removes_it() {
    let sandbox = Sandbox::new();
    let secret = sandbox.data().join("secrets/postgres");
    let read = || fs::read_to_string(&secret).unwrap();
    let start = |arguments: &[&str]| {
        let mut run = sandbox.start(arguments);
        let output = run.wait_for("Ctrl-C stops everything.");
        run.signal("INT");
        assert!(run.end().0.success());
        output
    };
    assert!(start(&["up"]).contains("creating a database"));
    let first = read();
    assert!(!start(&["up"]).contains("creating a database"));
    assert_eq!(read(), first);
    let output = start(&["up", "--fresh"]);
    let removed = format!("Removing {}", sandbox.data().join("postgres").display());
    assert!(
        output.contains(&removed) && output.contains("creating a database"),
        "{output}"
    );
    assert_ne!(read(), first);
}

#[test]
fn a_crashed_service_is_reported_with_its_last_log_lines() {
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
    assert!(sandbox.is_stopped());
}

#[test]
fn a_kill_leaves_no_process() {
    let sandbox = Sandbox::new();
    let mut run = sandbox.start(&["up"]);
    run.wait_for("Ctrl-C stops everything.");
    run.signal("KILL");
    run.end();
    // Immediately: the next run waits for the processes of the first.
    let mut next = sandbox.start(&["up"]);
    let output = next.wait_for("Ctrl-C stops everything.");
    assert!(!output.contains("creating a database"), "{output}");
    next.signal("KILL");
    next.end();
    eventually("all processes have ended", || sandbox.is_stopped());
}

#[test]
fn a_taken_port_is_found_before_anything_starts() {
    let sandbox = Sandbox::new();
    let _media = TcpListener::bind(sandbox.address(MEDIA)).unwrap();
    let _postgres = TcpListener::bind(sandbox.address(POSTGRES)).unwrap();
    let (status, errors) = sandbox.start(&["up"]).end();
    assert_eq!(status.code(), Some(1));
    for (process, name) in [(MEDIA, "quartet-media"), (POSTGRES, "Postgres")] {
        let port = sandbox.ports[process];
        assert!(
            errors.contains(&format!("port {port} is taken")),
            "{errors}"
        );
        assert!(errors.contains(&format!("{name} needs it")), "{errors}");
    }
    assert!(errors.contains("--port-offset 100"), "{errors}");
    if cfg!(target_os = "linux") {
        let holder = format!("(process {})", std::process::id());
        assert!(errors.contains(&holder), "{errors}");
    }
    assert!(!sandbox.data().join("postgres").exists());
}

#[test]
fn an_offset_moves_every_port() {
    let sandbox = Sandbox::new();
    let mut holders = Vec::new();
    for process in [GATEWAY, MEDIA, POSTGRES] {
        let moved = sandbox.ports[process] + 1;
        // One that another process holds is as taken.
        holders.extend(TcpListener::bind(("127.0.0.1", moved)));
    }
    let offset = (sandbox.offset + 1).to_string();
    let (status, errors) = sandbox.start(&["up", "--port-offset", &offset]).end();
    assert_eq!(status.code(), Some(1));
    for process in [GATEWAY, MEDIA, POSTGRES] {
        let moved = sandbox.ports[process] + 1;
        assert!(
            errors.contains(&format!("port {moved} is taken")),
            "{errors}"
        );
    }
}

#[test]
fn a_second_up_reports_the_first() {
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
fn ctrl_c_during_the_start_leaves_no_process() {
    let sandbox = Sandbox::new();
    let mut run = sandbox.start(&["up"]);
    run.wait_for("Starting quartet-core");
    run.signal("INT");
    run.end();
    assert!(sandbox.is_stopped());
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
