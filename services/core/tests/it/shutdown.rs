//! The time that a shutdown takes, under Tokio's paused clock: it moves when nothing else can.

use std::time::Duration;

use quartet_common::clock::Clock;
use quartet_core::Service;
use quartet_service::{Base, Replica};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::support::config;

/// Of one request that never ends, and of work that outlives its client: each has all of the grace
/// period, and both together have no more.
#[tokio::test]
async fn one_grace_period_is_for_all_that_is_left_to_do() {
    let mut config = config();
    config.database.url = "postgres://user@127.0.0.1:1/nothing".into();
    config.server.drain_seconds = 1;
    config.server.shutdown_grace_seconds = 6;
    let shutdown = CancellationToken::new();
    let base = Base::new::<Service>(&config, Clock::system(), shutdown.clone()).unwrap();
    base.detached.spawn(std::future::pending::<()>());
    let replica = Replica::<Service>::new(config, base).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(replica.run(listener));
    let mut client = TcpStream::connect(address).await.unwrap();
    let head = "POST /v1/core/users HTTP/1.1\r\nhost: core\r\nexpect: 100-continue\r\n\
        content-type: application/json\r\ncontent-length: 100\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    // The handler waits for the body.
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    tokio::time::pause();
    let began = Instant::now();
    shutdown.cancel();
    let error = serving.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("cut off"), "{error:#}");
    let took = began.elapsed();
    let (most, least) = (Duration::from_secs(9), Duration::from_secs(7));
    assert!(least <= took && took < most, "{took:?}");
}
