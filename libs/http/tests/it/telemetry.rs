use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, routing::post};
use quartet_common::config::{OtlpProtocol, Telemetry};
use quartet_telemetry as telemetry;

use quartet_testing::server::start;

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

/// The collector is a stand-in that keeps what it receives: no real one can be installed here.
#[test]
fn spans_reach_the_collector_in_the_trace_of_the_caller() {
    let received: Arc<Mutex<Vec<u8>>> = Arc::default();
    let keep = Arc::clone(&received);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let collector = Router::new().route(
        "/v1/traces",
        post(move |body: Bytes| async move { keep.lock().unwrap().extend(body) }),
    );
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move { axum::serve(listener, collector).await });

    let guard = telemetry::init(
        "test",
        "7.8.9",
        &Telemetry {
            log: "info".into(),
            otlp_endpoint: Some(format!("http://{address}").parse().unwrap()),
            otlp_protocol: OtlpProtocol::HttpProtobuf,
            trace_sample_ratio: 1.0,
        },
    )
    .unwrap();
    runtime.block_on(async {
        let router = Router::new().route("/things/{id}", post(|| async { "ok" }));
        let running = start(router, |_| {}).await;
        let response = reqwest::Client::new()
            .post(running.url("/things/7"))
            .header("traceparent", format!("00-{TRACE_ID}-b7ad6b7169203331-01"))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
    });
    drop(guard);
    let received = received.lock().unwrap();
    let holds = |wanted: &[u8]| received.windows(wanted.len()).any(|found| found == wanted);
    assert!(holds(b"quartet-test"), "the service is named");
    assert!(holds(b"7.8.9"), "its version is reported");
    assert!(
        holds(b"POST /things/{id}"),
        "the span is named by method and route"
    );
    let trace_id = u128::from_str_radix(TRACE_ID, 16).unwrap().to_be_bytes();
    assert!(holds(&trace_id), "the caller's trace continues");
}
