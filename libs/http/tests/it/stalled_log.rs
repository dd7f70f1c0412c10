use std::time::Duration;

use axum::{Router, routing::get};
use quartet_common::config::{OtlpProtocol, Telemetry};
use quartet_telemetry::{count_statement, init};
use quartet_testing::{
    child::{Logging, wait_for_parent},
    server::start,
};

/// With paths of this length they fill the queue and the pipe, and more.
const REQUESTS: usize = 1500;
const LONG: usize = 4096;
const STATEMENT: Duration = Duration::from_millis(20);

#[test]
#[ignore = "the child of the test below"]
fn serves() {
    let settings = Telemetry {
        log: "info".to_owned(),
        otlp_endpoint: None,
        otlp_protocol: OtlpProtocol::HttpProtobuf,
        trace_sample_ratio: 1.0,
    };
    let _guard = init("test", "1.0.0", &settings).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let router = Router::new().route(
        "/{*path}",
        get(|| async {
            drop(count_statement());
            let timer = count_statement();
            tokio::time::sleep(STATEMENT).await;
            drop(timer);
        }),
    );
    let running = runtime.block_on(start(router, |_| {}));
    tracing::info!(target: "quartet", address = %running.address, "listening");
    wait_for_parent();
}

#[tokio::test]
async fn requests_are_answered_while_nothing_reads_the_log() {
    let mut child = Logging::start("stalled_log::serves", &[]);
    let address = child.find("listening")["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let client = reqwest::Client::builder()
        .timeout(std::time::Duration::from_secs(10))
        .build()
        .unwrap();
    let fetch = async |path: &str| {
        let response = client.get(format!("http://{address}{path}")).send().await;
        let response = response.unwrap().error_for_status().unwrap();
        response.text().await.unwrap()
    };
    let long = format!("/{}", "a".repeat(LONG));
    for _ in 0..REQUESTS {
        fetch(&long).await;
    }
    let metrics = fetch("/metrics").await;
    let dropped: u64 = metrics
        .lines()
        .find_map(|line| line.strip_prefix("log_lines_dropped_total{service=\"test\"} "))
        .unwrap()
        .parse()
        .unwrap();
    assert!(dropped > 0, "the queue is bounded");

    // The reader resumes: the log says what is missing, and continues.
    let reported = child.find("log lines dropped");
    assert_eq!(reported["dropped"], dropped);
    fetch("/after").await;
    let line = loop {
        let line = child.find("request");
        if line["path"] == "/after" {
            break line;
        }
    };
    assert_eq!(
        (&line["status"], &line["db_statements"]),
        (&200.into(), &2.into())
    );
    assert!(line["db_ms"].as_f64().unwrap() >= 20.0, "{line}");
    assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
    child.send("end\n");
    assert!(child.wait(Duration::from_secs(10)).success());
}
