use std::{
    fs,
    time::{Duration, Instant},
};

use quartet_common::{
    cli::catch_hangup,
    config::{OtlpProtocol, Telemetry},
};
use quartet_telemetry::{
    AccessLine, LIMIT_BYTES, TelemetryGuard, TraceContext, init, metrics::Metrics,
};
use rustix::process::{Pid, Signal, kill_process};

use quartet_testing::child::{Logging, wait_for_parent};

const LONG: usize = 4096;
const MANY: usize = 3 * LIMIT_BYTES / LONG;

fn start(log: &str) -> TelemetryGuard {
    let settings = Telemetry {
        log: log.to_owned(),
        otlp_endpoint: None,
        otlp_protocol: OtlpProtocol::HttpProtobuf,
        trace_sample_ratio: 1.0,
    };
    init("test", "1.0.0", &settings).unwrap()
}

#[test]
#[ignore = "a child of the tests below"]
fn writes_every_kind_of_line() {
    let _guard = start("debug,quiet_library=off");
    tracing::info!(target: "quartet", a = 1, b = "\"quoted\"\n", c = true, d = 0.5, "first");
    tracing::warn!(e = %"shown", f = ?Some(1), g = None::<u32>, "second {}", 2);
    tracing::debug!("third");
    log::warn!(target: "some_library", "fourth");
    log::error!(target: "quiet_library", "hidden");
    log::debug!(target: "some_library", "fifth");
    tracing::debug!(target: "sqlx::query", rows_returned = 1_u64);
    AccessLine {
        method: "GET",
        path: "/things/7",
        status: 200,
        duration: Duration::from_micros(1500),
        request_id: "r-1",
        trace: TraceContext::start(),
        route: "/things/{id}",
        ..AccessLine::default()
    }
    .write();
}

#[test]
fn lines_are_complete_in_order_and_flushed_at_exit() {
    let mut child = Logging::start("output::writes_every_kind_of_line", &[]);
    let lines = child.rest();
    let messages: Vec<&str> = lines
        .iter()
        .map(|line| line["msg"].as_str().unwrap())
        .collect();
    assert_eq!(
        messages,
        [
            "first",
            "second 2",
            "third",
            "fourth",
            "fifth",
            "sqlx::query",
            "request"
        ]
    );
    let [first, second, third, fourth, fifth, statement, request] = &lines[..] else {
        unreachable!("seven messages above")
    };
    assert_eq!(first["level"], "info");
    assert_eq!(first["service"], "test");
    assert_eq!(
        (&first["a"], &first["b"]),
        (&1.into(), &"\"quoted\"\n".into())
    );
    assert_eq!((&first["c"], &first["d"]), (&true.into(), &0.5.into()));
    assert!(first.get("target").is_none());
    assert_eq!(second["level"], "warn");
    assert_eq!(
        (&second["e"], &second["f"]),
        (&"shown".into(), &"Some(1)".into())
    );
    assert!(second.get("g").is_none());
    assert!(second["target"].as_str().unwrap().starts_with("it::output"));
    assert_eq!(third["level"], "debug");
    assert_eq!(fourth["target"], "some_library");
    assert_eq!(fifth["target"], "some_library");
    assert_eq!(fourth.as_object().unwrap().len(), 5, "{fourth}");
    assert_eq!(statement["rows_returned"], 1);
    assert_eq!(request["route"], "/things/{id}");
    assert_eq!(request["duration_ms"], 1.5);
    assert!(request.get("caller_id").is_none());
}

/// Writes far more than fits while the parent does not read, and reports how long that took.
#[test]
#[ignore = "a child of the tests below"]
fn writes_to_a_stalled_reader() {
    let guard = start("info");
    let metrics = Metrics::new("test");
    let padding = "x".repeat(LONG);
    let began = Instant::now();
    for number in 0..MANY {
        tracing::info!(target: "quartet", number, padding, "long");
    }
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap();
    let text = metrics.render();
    let dropped: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("log_lines_dropped_total{service=\"test\"} "))
        .unwrap()
        .parse()
        .unwrap();
    eprintln!("{dropped}");
    wait_for_parent();
    // By now the parent reads, and the queue has room.
    tracing::info!(target: "quartet", took_ms, dropped, "resumed");
    drop(guard);
    // The test harness would write its result to stdout, and wait for the reader.
    std::process::exit(0);
}

#[test]
fn a_stalled_reader_delays_no_line_and_the_dropped_ones_are_counted() {
    let mut child = Logging::start("output::writes_to_a_stalled_reader", &[]);
    // Nothing is read until the child has written everything.
    child.wait_for_error_output();
    let mut numbers = Vec::new();
    let reported = loop {
        let line = child
            .next_line()
            .expect("a line that reports the dropped ones");
        match line["msg"].as_str().unwrap() {
            "long" => numbers.push(line["number"].as_u64().unwrap()),
            "log lines dropped" => break line,
            other => panic!("{other}"),
        }
    };
    let dropped = reported["dropped"].as_u64().unwrap();
    assert_eq!(reported["level"], "warn");
    let fields: Vec<&String> = reported.as_object().unwrap().keys().collect();
    let expected = ["dropped", "level", "msg", "service", "target", "timestamp"];
    assert_eq!(fields, expected);
    child.send("go on\n");
    let mut rest = child.rest();
    let resumed = rest.pop().unwrap();
    assert_eq!(resumed["msg"], "resumed");
    assert!(resumed["took_ms"].as_u64().unwrap() < 5_000, "{resumed}");
    assert_eq!(resumed["dropped"], dropped);
    numbers.extend(rest.iter().filter_map(|line| line["number"].as_u64()));
    assert_eq!(numbers.len() as u64 + dropped, MANY as u64);
    assert!(numbers.is_sorted(), "one thread's lines keep their order");
    let kept = numbers.len() * LONG;
    assert!(
        kept > LIMIT_BYTES / 2 && kept < LIMIT_BYTES * 2,
        "{kept} bytes"
    );
}

#[test]
fn a_reader_that_never_resumes_delays_the_exit_by_a_bounded_time() {
    let mut child = Logging::start("output::writes_to_a_stalled_reader", &[]);
    child.close_input();
    let status = child.wait(Duration::from_secs(10));
    assert!(status.success());
}

#[test]
#[ignore = "a child of the tests below"]
fn panics_with_telemetry() {
    let guard = start("info");
    tracing::info!(target: "quartet", "before");
    let panicked = std::thread::spawn(|| panic!("index {} out of bounds", 7)).join();
    assert!(panicked.is_err());
    // As if the process were aborted: no destructor runs.
    std::mem::forget(guard);
    std::process::exit(0);
}

#[test]
fn a_panic_is_logged_and_everything_before_it_flushed() {
    let mut child = Logging::start("output::panics_with_telemetry", &[]);
    let lines = child.rest();
    assert_eq!(lines[0]["msg"], "before");
    assert_eq!(lines[1]["msg"], "panic");
    assert_eq!(lines[1]["level"], "error");
    assert_eq!(lines[1]["error"], "index 7 out of bounds");
    assert_eq!(lines[1]["target"], "quartet");
    assert!(lines[1]["location"].as_str().unwrap().contains("output.rs"));
}

#[test]
#[ignore = "a child of the tests below"]
fn reloads_on_hangup() {
    catch_hangup().unwrap();
    let guard = start("info");
    let level = guard.level();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let file = std::env::var("FILTER_FILE").unwrap();
    runtime.spawn(
        level
            .clone()
            .reload_on_hangup(move || Ok(fs::read_to_string(&file).unwrap())),
    );
    assert!(level.set("no=such=filter").is_err());
    assert_eq!(level.get(), "info");
    for _ in 0..2 {
        tracing::info!(target: "quartet", "shown");
        tracing::debug!(target: "quartet", "hidden at first");
        wait_for_parent();
    }
}

#[test]
fn the_filter_changes_on_hangup_and_a_wrong_one_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("filter");
    let file_name = file.to_str().unwrap();
    let mut child = Logging::start("output::reloads_on_hangup", &[("FILTER_FILE", file_name)]);
    child.find("shown");
    let pid = Pid::from_raw(child.pid().try_into().unwrap()).unwrap();
    fs::write(&file, "nonsense=nonsense").unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let refused = child.find("log filter not changed");
    assert!(refused["error"].as_str().unwrap().contains("telemetry.log"));
    fs::write(&file, "debug").unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    assert_eq!(child.find("log filter changed")["filter"], "debug");
    child.send("go on\n");
    child.find("hidden at first");
    // Unchanged, then changed to what shows nothing: the next line is about the second.
    kill_process(pid, Signal::HUP).unwrap();
    fs::write(&file, "off").unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    assert_eq!(child.find("log filter changed")["filter"], "off");
    child.send("end\n");
    assert!(child.wait(Duration::from_secs(10)).success());
}
