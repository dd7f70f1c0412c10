use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use quartet_devstack::{Cancel, Options, Postgres, ServiceSpec, port};
use tempfile::TempDir;

use crate::support::{directory, eventually, runs};

const SECOND: Duration = Duration::from_secs(1);

fn shell(directory: &TempDir, script: &str) -> ServiceSpec {
    ServiceSpec::new("example", "/bin/sh", directory.path().join("example.log"))
        .arg("-c")
        .arg(script)
}

#[test]
fn an_early_exit_reports_name_status_and_last_lines() {
    let directory = directory();
    let spec = shell(
        &directory,
        "echo one; echo 'cannot open the door' >&2; exit 3",
    )
    .ready_at(([127, 0, 0, 1], port::free().unwrap()).into(), "/ready");
    let mut service = spec.start().unwrap();
    let error = service
        .wait_ready(10 * SECOND, &Cancel::default())
        .unwrap_err();
    let message = error.to_string();
    for expected in [
        "example stopped by itself",
        "exit status: 3",
        "one",
        "cannot open the door",
    ] {
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_readiness_timeout_names_the_url() {
    let directory = directory();
    let spec = shell(&directory, "echo starting; exec sleep 60")
        .ready_at(([127, 0, 0, 1], port::free().unwrap()).into(), "/ready");
    let mut service = spec.start().unwrap();
    eventually("it has written", || {
        service.last_lines().contains("starting")
    });
    let error = service
        .wait_ready(SECOND / 5, &Cancel::default())
        .unwrap_err();
    let message = error.to_string();
    assert!(message.contains("/ready"), "{message}");
    assert!(message.contains("starting"), "{message}");
}

#[test]
fn a_canceled_wait_ends_at_once() {
    let directory = directory();
    let spec = shell(&directory, "exec sleep 60")
        .ready_at(([127, 0, 0, 1], port::free().unwrap()).into(), "/ready");
    let mut service = spec.start().unwrap();
    let cancel = Cancel::default();
    cancel.set();
    let begin = Instant::now();
    let error = service.wait_ready(60 * SECOND, &cancel).unwrap_err();
    assert_eq!(error.to_string(), "interrupted");
    assert!(begin.elapsed() < 10 * SECOND);
}

#[test]
fn stop_allows_a_graceful_exit() {
    let directory = directory();
    let script = "trap 'echo goodbye; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let mut service = shell(&directory, script).start().unwrap();
    eventually("it is ready", || service.last_lines().contains("ready"));
    let status = service.stop(10 * SECOND).unwrap();
    assert!(status.success(), "{status}");
    assert!(service.last_lines().contains("goodbye"));
}

#[test]
fn stop_kills_the_group_after_the_grace_period() {
    let directory = directory();
    let script = "trap '' TERM; sleep 60 & echo child $!; while :; do sleep 0.05; done";
    let mut service = shell(&directory, script).start().unwrap();
    eventually("it has a child", || service.last_lines().contains("child"));
    let lines = service.last_lines();
    let child: u32 = lines
        .trim()
        .strip_prefix("child ")
        .unwrap()
        .parse()
        .unwrap();
    let status = service.stop(SECOND / 5).unwrap();
    assert!(!status.success());
    eventually("its child has ended", || !runs(child));
}

#[test]
fn the_callers_settings_are_not_inherited() {
    let directory = directory();
    let mut service = shell(&directory, "env; exit 0")
        .env("QUARTET_GIVEN", "yes")
        .start()
        .unwrap();
    eventually("it has ended", || {
        service_log(&directory).contains("QUARTET_GIVEN=yes")
    });
    assert!(!service_log(&directory).contains("QUARTET_TEST_DATABASE_URL"));
    service.stop(SECOND).unwrap();
}

fn service_log(directory: &TempDir) -> String {
    fs::read_to_string(directory.path().join("example.log")).unwrap_or_default()
}

/// Starts itself as a child process, which starts a Postgres and a service. The
/// child is then killed, and both have to end.
#[test]
fn all_processes_end_when_the_starter_is_killed() {
    const ROLE: &str = "DEVSTACK_TEST_ROLE";
    if std::env::var_os(ROLE).is_some() {
        start_and_hang();
    }
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "service::all_processes_end_when_the_starter_is_killed",
        ])
        .arg("--nocapture")
        .env(ROLE, "starter")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(starter.stdout.take().unwrap());
    let started: Vec<String> = output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| {
            let (_, words) = line.split_once("STARTED ")?;
            Some(words.split(' ').map(str::to_owned).collect())
        })
        .unwrap();
    let [postgres, service] = [0, 1].map(|index: usize| started[index].parse::<u32>().unwrap());
    assert!(runs(postgres) && runs(service));

    starter.kill().unwrap();
    starter.wait().unwrap();
    eventually("Postgres has ended", || !runs(postgres));
    eventually("the service has ended", || !runs(service));
    eventually("its files are removed", || {
        !fs::exists(&started[2]).unwrap()
    });
}

fn start_and_hang() -> ! {
    let directory = directory();
    let service = shell(&directory, "exec sleep 600").start().unwrap();
    let postgres = Postgres::find_or_start(&Options::throw_away()).unwrap();
    let files = postgres.log().unwrap().parent().unwrap().display();
    println!(
        "\nSTARTED {} {} {files}",
        postgres.pid().unwrap(),
        service.pid()
    );
    let _ = fs::remove_dir_all(directory.path());
    loop {
        std::thread::park();
    }
}
