//! What the access log of the binary says about GraphQL operations.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::{ALICE, Cluster, client};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_of_an_operation_has_its_kind_and_the_beginning_of_its_name() {
    let cluster = Cluster::new().await;
    let settings = [
        ("QUARTET_SERVER_LISTEN", "127.0.0.1:0"),
        ("RUST_LOG", "info"),
    ];
    let mut child = Command::new(env!("CARGO_BIN_EXE_quartet-links"))
        .arg("serve")
        .env_clear()
        .envs(cluster.environment(&settings))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines = lines.map_while(Result::ok);
    let mut lines = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let address = lines.find_map(|line| line["address"].as_str().map(str::to_owned));
    let url = format!("http://{}/v1/links/graphql", address.unwrap());
    let mut lines = lines.filter(|line| line["path"] == "/v1/links/graphql");
    let client = client();
    let (long, cut) = ("n".repeat(200), "n".repeat(64));
    let fields = "{ links { nodes { slug } } }";
    for (document, expected) in [
        (fields.to_owned(), [json!("query"), Value::Null]),
        (
            format!("query Mine_1 {fields}"),
            [json!("query"), json!("Mine_1")],
        ),
        (
            format!("query {long} {fields}"),
            [json!("query"), json!(cut)],
        ),
        (
            "mutation Delete { deleteLink(id: \"lnk_1\") { id } }".to_owned(),
            [json!("mutation"), json!("Delete")],
        ),
        // A name is letters, digits and underscores: this is no document.
        (
            format!("query M\u{fc}\" {fields}"),
            [Value::Null, Value::Null],
        ),
    ] {
        let request = client.post(&url).bearer_auth(cluster.issuer.token(ALICE));
        let response = request.json(&json!({ "query": document })).send().await;
        response.unwrap();
        let line = lines.next().expect("each request is logged");
        let logged = ["operation", "operation_name"].map(|field| line[field].clone());
        assert_eq!(logged, expected, "{document}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
