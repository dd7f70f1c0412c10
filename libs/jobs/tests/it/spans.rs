use quartet_common::config::{OtlpProtocol, Telemetry};
use quartet_jobs::Job;
use quartet_telemetry::init;
use tokio::{sync::mpsc, time::Duration};
use tracing::{Metadata, Span};

use crate::support::{SECOND, runner};

/// One that ends with the process would be the parent of spans that are sent long before it.
#[test]
fn each_run_has_a_span_except_of_a_continuous_job() {
    let settings = Telemetry {
        log: "info".to_owned(),
        // Nothing listens there.
        otlp_endpoint: Some("http://127.0.0.1:1/".parse().unwrap()),
        otlp_protocol: OtlpProtocol::HttpProtobuf,
        trace_sample_ratio: 1.0,
    };
    let guard = init("test", "1.0.0", &settings).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut spans = runtime.block_on(async {
        let mut test = runner();
        let (sender, mut seen) = mpsc::unbounded_channel();
        let note = move |job| {
            let span = Span::current().metadata().map(Metadata::name);
            sender.send((job, span)).unwrap();
        };
        let (of_run, of_process) = (note.clone(), note);
        let sweep = Job::periodic("sweep", 60 * SECOND, move |_| {
            of_run("sweep");
            async { anyhow::Ok(()) }
        });
        test.runner.start(sweep.immediately());
        let listen = Job::continuous("listen", Duration::from_mins(1), move |run| {
            of_process("listen");
            async move {
                run.stopping().await;
                anyhow::Ok(())
            }
        });
        test.runner.start(listen);
        let spans = [seen.recv().await.unwrap(), seen.recv().await.unwrap()];
        test.runner.stop(SECOND).await.unwrap();
        spans
    });
    drop(guard);
    spans.sort_unstable();
    assert_eq!(spans, [("listen", None), ("sweep", Some("job"))]);
}
