//! How many statements a request costs, as the response line of the binary says.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use quartet_common::clock::Clock;
use quartet_media::MIGRATOR;
use quartet_testing::{Issuer, TestDatabase};
use serde_json::{Value, json};

use crate::support::png;

/// Status and statements of each request.
type Counts = Vec<(String, u64)>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_presign_is_one_statement() {
    let database = TestDatabase::create("media", &MIGRATOR).await;
    let issuer = Issuer::new(Clock::system());
    let jwks = issuer.settings(issuer.serve().await).jwks_url.unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_quartet-media"))
        .arg("serve")
        .env_clear()
        .env("DATABASE_URL", database.url())
        .env("QUARTET_JWT_JWKS_URL", jwks.as_str())
        .env("QUARTET_JWT_ISSUER", quartet_testing::ISSUER)
        .env("QUARTET_JWT_AUDIENCE", quartet_testing::AUDIENCE)
        // Signing sends no request.
        .env("QUARTET_S3_ENDPOINT", "http://127.0.0.1:1")
        .env("QUARTET_S3_ACCESS_KEY", "key")
        .env("QUARTET_S3_SECRET_KEY", "secret")
        .env("QUARTET_SERVER_LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let lines = output.lines().map(Result::unwrap);
    let mut lines = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let address = lines.find_map(|line| line["address"].as_str().map(str::to_owned));
    let address = address.expect("the service logs its listen address");
    let http = reqwest::Client::new();
    let presign = |key: Option<&str>| {
        let request = http.post(format!("http://{address}/v1/media/presign"));
        let request = request.bearer_auth(issuer.token("usr_a"));
        let request = request.json(&png("private"));
        match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        }
    };
    let mut presigns = lines.filter(|line| line["route"] == "/v1/media/presign");
    // Requests of several connections may be logged in any order, so each line is read before the
    // next request.
    let mut counts: Counts = Vec::new();
    for key in [None, Some("a"), Some("a")] {
        let status = presign(key).send().await.unwrap().status();
        let line = presigns.next().expect("each request is logged");
        assert_eq!(line["status"], status.as_u16());
        counts.push((
            status.as_str().to_owned(),
            line["db_statements"].as_u64().unwrap(),
        ));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let expected = [
        // The upload.
        json!(["201", 1]),
        // The claim of the key, the upload, the response that is kept.
        json!(["201", 3]),
        // The claim, which fails, and the response.
        json!(["201", 2]),
    ];
    assert_eq!(json!(counts), json!(expected));
}
