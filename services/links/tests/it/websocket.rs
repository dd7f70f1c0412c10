//! graphql-transport-ws: messages and close codes.

use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::support::{ALICE, BOB, Cluster, Replica, Socket, eventually, problem_code};

#[tokio::test]
async fn queries_mutations_and_pings_are_answered() {
    let replica = Replica::start().await;
    let mut socket = replica.socket().await;
    socket
        .send_json(json!({"type": "ping", "payload": {"a": 1}}))
        .await;
    assert_eq!(
        socket.receive().await,
        json!({"type": "pong", "payload": {"a": 1}}),
        "before connection_init"
    );
    socket.init(&replica.token(ALICE)).await;
    socket.send_json(json!({"type": "ping"})).await;
    assert_eq!(socket.receive().await, json!({"type": "pong"}));
    socket.send_json(json!({"type": "pong"})).await;

    socket.subscribe("m", "mutation { createLink(input: {url: \"https://example.com/\", slug: \"by-socket\"}) { slug } }").await;
    assert_eq!(
        socket.next_data("m").await,
        json!({"createLink": {"slug": "by-socket"}})
    );
    assert_eq!(
        socket.receive().await,
        json!({"type": "complete", "id": "m"})
    );
    socket.subscribe("m", "{ links { totalCount } }").await;
    assert_eq!(
        socket.next_data("m").await,
        json!({"links": {"totalCount": 1}}),
        "the id is free again"
    );
}

#[tokio::test]
async fn invalid_documents_get_an_error_and_the_socket_stays_open() {
    let replica = Replica::start().await;
    let mut socket = replica.socket_of(ALICE).await;
    for (query, code) in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        (
            "subscription { clicks(linkId: \"x\") { id } }",
            "INVALID_INPUT",
        ),
        (
            "subscription { a: clicks(linkId: \"x\") { id } b: clicks(linkId: \"x\") { id } }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
    ] {
        socket.subscribe("1", query).await;
        let message = socket.receive().await;
        let error = if message["type"] == "error" {
            message["payload"][0].clone()
        } else {
            assert_eq!(socket.receive().await["type"], "complete");
            message["payload"]["errors"][0].clone()
        };
        assert_eq!(error["extensions"]["code"], code, "{message}");
    }
    socket
        .send_json(json!({"type": "subscribe", "id": "2", "payload": {"variables": {}}}))
        .await;
    assert_eq!(
        socket.receive().await["payload"][0]["extensions"]["field"],
        "query"
    );
}

/// RFC 6455, 5.5.1. Browsers report 1006 otherwise.
#[tokio::test]
async fn a_close_of_the_client_is_answered() {
    let replica = Replica::start().await;
    let mut socket = replica.socket_of(ALICE).await;
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: "done".into(),
    };
    socket.send(Message::Close(Some(frame))).await;
    assert_eq!(socket.close_code().await, 1000);
}

#[tokio::test]
async fn protocol_errors_close_the_socket_with_their_codes() {
    let replica = Replica::start().await;
    for invalid in [
        "",
        "nonsense",
        "[]",
        "{}",
        "{\"type\":\"start\"}",
        "{\"type\":\"subscribe\"}",
    ] {
        let mut socket = replica.socket_of(ALICE).await;
        socket.send(Message::text(invalid)).await;
        assert_eq!(socket.close_code().await, 4400, "{invalid}");
    }
    let mut socket = replica.socket_of(ALICE).await;
    socket.send(Message::binary("{}")).await;
    assert_eq!(socket.close_code().await, 4400);

    let mut socket = replica.socket().await;
    socket.subscribe("1", "{ __typename }").await;
    assert_eq!(socket.close_code().await, 4401, "before connection_ack");

    let mut socket = replica.socket_of(ALICE).await;
    socket.send_json(json!({"type": "connection_init"})).await;
    assert_eq!(socket.close_code().await, 4429);

    let mut socket = replica.socket_of(ALICE).await;
    socket.send(Message::text("x".repeat(65_537))).await;
    assert_eq!(socket.close_code().await, 1009, "a message that is too big");

    let mut socket = Socket::open_with(replica.address, &[]).await;
    assert_eq!(socket.close_code().await, 4406, "without the subprotocol");
}

#[tokio::test]
async fn a_duplicate_id_closes_the_socket() {
    let replica = Replica::start().await;
    let (id, _) = replica.link().await;
    let mut socket = replica.socket_of(ALICE).await;
    socket.subscribe_clicks("1", &id).await;
    socket.subscribe_clicks("1", &id).await;
    assert_eq!(socket.close_code().await, 4409);
}

#[tokio::test]
async fn the_token_is_read_from_the_payload_or_the_header() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    let valid = format!("Bearer {}", replica.token(ALICE));
    let expired = format!(
        "Bearer {}",
        cluster.issuer.token_with(ALICE, json!({"exp": 1}))
    );
    for (payload, reason) in [
        (json!({}), "the access token is missing"),
        (
            json!({"authorization": "Bearer x"}),
            "the access token is not a JWT",
        ),
        (
            json!({"authorization": expired}),
            "the access token has expired",
        ),
        (
            json!({"authorization": replica.token(ALICE)}),
            "Authorization must be `Bearer` and one access token",
        ),
    ] {
        let mut socket = replica.socket().await;
        socket
            .send_json(json!({"type": "connection_init", "payload": payload}))
            .await;
        // As HTTP says it.
        assert_eq!(socket.close().await, (4401, reason.to_owned()), "{payload}");
    }
    let mut socket = replica.socket().await;
    socket
        .send_json(json!({"type": "connection_init", "payload": {"Authorization": valid}}))
        .await;
    assert_eq!(socket.receive().await["type"], "connection_ack");

    let headers = [
        ("sec-websocket-protocol", "graphql-transport-ws"),
        ("authorization", valid.as_str()),
    ];
    let mut socket = Socket::open_with(replica.address, &headers).await;
    socket.send_json(json!({"type": "connection_init"})).await;
    assert_eq!(socket.receive().await["type"], "connection_ack");
}

#[tokio::test]
async fn a_missing_init_and_an_expired_token_close_the_socket() {
    let cluster = Cluster::new().await;
    let replica = cluster
        .start_with(&[("QUARTET_GRAPHQL_INIT_TIMEOUT_SECONDS", "1")])
        .await;
    assert_eq!(replica.socket().await.close_code().await, 4408);
    let soon = cluster.clock.now().timestamp() + 2;
    let mut socket = replica.socket().await;
    socket
        .init(&cluster.issuer.token_with(ALICE, json!({"exp": soon})))
        .await;
    let expired = "the access token has expired".to_owned();
    assert_eq!(socket.close().await, (4401, expired));
}

/// In a task that the handshake has spawned, and in one of the operation.
#[tokio::test]
async fn errors_have_the_id_of_the_handshake() {
    let replica = Replica::start().await;
    let headers = [
        ("sec-websocket-protocol", "graphql-transport-ws"),
        ("x-request-id", "of-the-handshake"),
    ];
    let mut socket = Socket::open_with(replica.address, &headers).await;
    socket.init(&replica.token(ALICE)).await;
    for query in [
        "subscription { clicks(linkId: \"lnk_00000000000000000000000000\") { id } }",
        "{ link(id: \"x\") { id } }",
        "{ nonsense }",
    ] {
        socket.subscribe("1", query).await;
        let message = socket.receive().await;
        let errors = match message["type"].as_str() {
            Some("error") => &message["payload"],
            _ => &message["payload"]["errors"],
        };
        assert_eq!(
            errors[0]["extensions"]["requestId"], "of-the-handshake",
            "{message}"
        );
        if message["type"] == "next" {
            assert_eq!(socket.receive().await["type"], "complete");
        }
    }
}

#[tokio::test]
async fn a_socket_permits_what_its_token_does() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    let mut socket = replica.socket().await;
    let token = cluster
        .issuer
        .token_with(ALICE, json!({"scope": "links:read"}));
    socket.init(&token).await;
    let create = "mutation { createLink(input: {url: \"https://a.example/\"}) { id } }";
    socket.subscribe("1", create).await;
    let refused = socket.receive().await;
    assert_eq!(refused["type"], "error", "{refused}");
    assert_eq!(refused["payload"][0]["extensions"]["code"], "FORBIDDEN");
    socket.subscribe("2", "{ links { totalCount } }").await;
    assert_eq!(socket.next_data("2").await["links"]["totalCount"], 0);
}

#[tokio::test]
async fn subscriptions_per_socket_are_limited() {
    let cluster = Cluster::new().await;
    let replica = cluster
        .start_with(&[("QUARTET_GRAPHQL_MAX_SUBSCRIPTIONS_PER_SOCKET", "2")])
        .await;
    let (id, _) = replica.link().await;
    let mut socket = replica.socket_of(ALICE).await;
    for n in ["1", "2", "3"] {
        socket.subscribe_clicks(n, &id).await;
    }
    let rejected = socket.receive().await;
    assert_eq!(
        (&rejected["type"], &rejected["id"]),
        (&json!("error"), &json!("3"))
    );
    assert_eq!(
        rejected["payload"][0]["extensions"]["code"],
        "TOO_MANY_SUBSCRIPTIONS"
    );
    socket
        .send_json(json!({"type": "complete", "id": "1"}))
        .await;
    socket.subscribe("4", "{ __typename }").await;
    assert_eq!(socket.next_data("4").await, json!({"__typename": "Query"}));
}

#[tokio::test]
async fn the_clicks_of_another_users_link_are_not_found() {
    let replica = Replica::start().await;
    let (id, _) = replica.link().await;
    let mut socket = replica.socket_of(BOB).await;
    socket.subscribe_clicks("1", &id).await;
    let message = socket.receive().await;
    assert!(message.to_string().contains("NOT_FOUND"), "{message}");
}

#[tokio::test]
async fn a_disconnected_socket_ends_its_subscriptions() {
    let replica = Replica::start().await;
    let (id, _) = replica.link().await;
    let mut socket = replica.socket_of(ALICE).await;
    socket.subscribe_clicks("1", &id).await;
    eventually(async || (replica.metric("links_subscriptions").await == 1).then_some(())).await;
    drop(socket);
    eventually(async || (replica.metric("links_subscriptions").await == 0).then_some(())).await;
}

#[tokio::test]
async fn shutdown_closes_sockets_with_1001() {
    let replica = Replica::start().await;
    let mut socket = replica.socket_of(ALICE).await;
    replica.begin_shutdown();
    assert_eq!(socket.close_code().await, 1001);
    replica.stop().await;
}

#[tokio::test]
async fn an_invalid_upgrade_gets_a_problem() {
    let replica = Replica::start().await;
    let request = replica
        .client
        .get(replica.url("/v1/links/graphql"))
        .header("upgrade", "websocket");
    assert_eq!(
        problem_code(request.send().await.unwrap()).await,
        (426, "invalid_upgrade".into())
    );
}
