use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use quartet_common::config::{OtlpProtocol, Telemetry};
use quartet_telemetry::{init, span};
use tokio::net::TcpListener;

type Received = Arc<Mutex<Vec<(String, Bytes)>>>;

/// A stand-in for a collector: accepts every export, and keeps what it received.
async fn collect(listener: TcpListener, received: Received) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let received = Arc::clone(&received);
        let service = tower::service_fn(move |request: Request<Incoming>| {
            let received = Arc::clone(&received);
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                received.lock().unwrap().push((path, body));
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                // An empty message: not compressed, no bytes.
                let frames = [
                    Frame::data(Bytes::from_static(&[0; 5])),
                    Frame::trailers(trailers),
                ];
                let frames = frames.map(Ok::<_, Infallible>);
                let body = StreamBody::new(futures_util::stream::iter(frames));
                let mut response = Response::new(body);
                response
                    .headers_mut()
                    .insert("content-type", HeaderValue::from_static("application/grpc"));
                Ok::<_, Infallible>(response)
            }
        });
        tokio::spawn(async move {
            Builder::new(TokioExecutor::new())
                .http2_only()
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
                .await
        });
    }
}

#[test]
fn spans_are_exported_by_grpc_from_a_process_without_a_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let received = Received::default();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    runtime.spawn(collect(listener, Arc::clone(&received)));
    let settings = Telemetry {
        log: "info".to_owned(),
        otlp_endpoint: Some(format!("http://{address}").parse().unwrap()),
        otlp_protocol: OtlpProtocol::Grpc,
        trace_sample_ratio: 1.0,
    };
    let guard = init("test", "7.8.9", &settings).unwrap();
    let result: Result<(), ()> = runtime.block_on(span("s3.put_object", async { Err(()) }));
    assert!(result.is_err());
    drop(guard);
    let received = received.lock().unwrap();
    let [(path, body)] = &received[..] else {
        panic!("{} exports", received.len())
    };
    assert_eq!(
        path,
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    );
    let contains = |expected: &[u8]| body.windows(expected.len()).any(|part| part == expected);
    for expected in ["quartet-test", "7.8.9", "s3.put_object"] {
        assert!(contains(expected.as_bytes()), "{expected}");
    }
}
