//! graphql-transport-ws, word by word and code by code.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{ALICE, BOB, Replica, Socket, World, eventually, problem};

#[tokio::test]
async fn a_socket_answers_queries_mutations_and_pings() {
    let replica = Replica::alone().await;
    let mut socket = replica.socket().await;
    socket
        .say(json!({"type": "ping", "payload": {"a": 1}}))
        .await;
    assert_eq!(
        socket.hear().await,
        json!({"type": "pong", "payload": {"a": 1}}),
        "before the init too"
    );
    socket.initialise(&replica.token(ALICE)).await;
    socket.say(json!({"type": "ping"})).await;
    assert_eq!(socket.hear().await, json!({"type": "pong"}));
    socket.say(json!({"type": "pong"})).await;

    socket.subscribe("m", "mutation { createLink(input: {url: \"https://example.com/\", slug: \"by-socket\"}) { slug } }").await;
    assert_eq!(
        socket.next_of("m").await,
        json!({"createLink": {"slug": "by-socket"}})
    );
    assert_eq!(socket.hear().await, json!({"type": "complete", "id": "m"}));
    socket.subscribe("m", "{ links { totalCount } }").await;
    assert_eq!(
        socket.next_of("m").await,
        json!({"links": {"totalCount": 1}}),
        "the id is free again"
    );
}

#[tokio::test]
async fn documents_that_are_not_executed_give_an_error_and_the_socket_lives() {
    let replica = Replica::alone().await;
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
        let message = socket.hear().await;
        let error = if message["type"] == "error" {
            message["payload"][0].clone()
        } else {
            assert_eq!(socket.hear().await["type"], "complete");
            message["payload"]["errors"][0].clone()
        };
        assert_eq!(error["extensions"]["code"], code, "{message}");
    }
    socket
        .say(json!({"type": "subscribe", "id": "2", "payload": {"variables": {}}}))
        .await;
    assert_eq!(
        socket.hear().await["payload"][0]["extensions"]["field"],
        "query"
    );
}

#[tokio::test]
async fn breaches_of_the_protocol_close_the_socket_with_their_codes() {
    let replica = Replica::alone().await;
    for nonsense in [
        "",
        "nonsense",
        "[]",
        "{}",
        "{\"type\":\"start\"}",
        "{\"type\":\"subscribe\"}",
    ] {
        let mut socket = replica.socket_of(ALICE).await;
        socket.send(Message::text(nonsense)).await;
        assert_eq!(socket.close_code().await, 4400, "{nonsense}");
    }
    let mut socket = replica.socket_of(ALICE).await;
    socket.send(Message::binary("{}")).await;
    assert_eq!(socket.close_code().await, 4400);

    let mut socket = replica.socket().await;
    socket.subscribe("1", "{ __typename }").await;
    assert_eq!(
        socket.close_code().await,
        4401,
        "before the acknowledgement"
    );

    let mut socket = replica.socket_of(ALICE).await;
    socket.say(json!({"type": "connection_init"})).await;
    assert_eq!(socket.close_code().await, 4429);

    let mut socket = Socket::open_with(replica.address, &[]).await;
    assert_eq!(socket.close_code().await, 4406, "without the sub-protocol");
}

#[tokio::test]
async fn an_id_that_is_in_use_closes_the_socket() {
    let replica = Replica::alone().await;
    let (id, _) = replica.link().await;
    let mut socket = replica.socket_of(ALICE).await;
    socket.watch("1", &id).await;
    socket.watch("1", &id).await;
    assert_eq!(socket.close_code().await, 4409);
}

#[tokio::test]
async fn tokens_come_in_the_payload_or_the_header_and_must_be_good() {
    let world = World::new().await;
    let replica = world.start().await;
    let good = format!("Bearer {}", replica.token(ALICE));
    let expired = format!(
        "Bearer {}",
        world.issuer.token_with(ALICE, json!({"exp": 1}))
    );
    for payload in [
        json!({}),
        json!({"authorization": "Bearer x"}),
        json!({"authorization": expired}),
        json!({"authorization": replica.token(ALICE)}),
    ] {
        let mut socket = replica.socket().await;
        socket
            .say(json!({"type": "connection_init", "payload": payload}))
            .await;
        assert_eq!(socket.close_code().await, 4403, "{payload}");
    }
    let mut socket = replica.socket().await;
    socket
        .say(json!({"type": "connection_init", "payload": {"Authorization": good}}))
        .await;
    assert_eq!(socket.hear().await["type"], "connection_ack");

    let headers = [
        ("sec-websocket-protocol", "graphql-transport-ws"),
        ("authorization", good.as_str()),
    ];
    let mut socket = Socket::open_with(replica.address, &headers).await;
    socket.say(json!({"type": "connection_init"})).await;
    assert_eq!(socket.hear().await["type"], "connection_ack");
}

#[tokio::test]
async fn silence_before_the_init_and_the_end_of_the_token_close_the_socket() {
    let world = World::new().await;
    let replica = world
        .start_with(&[("QUARTET_GRAPHQL_INIT_TIMEOUT_SECONDS", "1")])
        .await;
    assert_eq!(replica.socket().await.close_code().await, 4408);
    let soon = world.clock.now().timestamp() + 2;
    let mut socket = replica.socket().await;
    socket
        .initialise(&world.issuer.token_with(ALICE, json!({"exp": soon})))
        .await;
    assert_eq!(socket.close_code().await, 4401);
}

#[tokio::test]
async fn a_socket_carries_only_so_many_subscriptions() {
    let world = World::new().await;
    let replica = world
        .start_with(&[("QUARTET_GRAPHQL_MAX_SUBSCRIPTIONS_PER_SOCKET", "2")])
        .await;
    let (id, _) = replica.link().await;
    let mut socket = replica.socket_of(ALICE).await;
    for n in ["1", "2", "3"] {
        socket.watch(n, &id).await;
    }
    let refused = socket.hear().await;
    assert_eq!(
        (&refused["type"], &refused["id"]),
        (&json!("error"), &json!("3"))
    );
    assert_eq!(
        refused["payload"][0]["extensions"]["code"],
        "TOO_MANY_SUBSCRIPTIONS"
    );
    socket.say(json!({"type": "complete", "id": "1"})).await;
    socket.subscribe("4", "{ __typename }").await;
    assert_eq!(socket.next_of("4").await, json!({"__typename": "Query"}));
}

#[tokio::test]
async fn another_users_link_cannot_be_watched() {
    let replica = Replica::alone().await;
    let (id, _) = replica.link().await;
    let mut socket = replica.socket_of(BOB).await;
    socket.watch("1", &id).await;
    let message = socket.hear().await;
    assert!(message.to_string().contains("NOT_FOUND"), "{message}");
}

#[tokio::test]
async fn sockets_that_go_away_leave_nothing_behind() {
    let replica = Replica::alone().await;
    let (id, _) = replica.link().await;
    let mut socket = replica.socket_of(ALICE).await;
    socket.watch("1", &id).await;
    eventually(async || (replica.metric("links_subscriptions").await == 1).then_some(())).await;
    drop(socket);
    eventually(async || (replica.metric("links_subscriptions").await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_stopping_server_says_that_it_goes() {
    let replica = Replica::alone().await;
    let mut socket = replica.socket_of(ALICE).await;
    replica.begin_to_stop();
    assert_eq!(socket.close_code().await, 1001);
    replica.stop().await;
}

#[tokio::test]
async fn an_upgrade_that_is_none_gets_a_problem() {
    let replica = Replica::alone().await;
    let request = replica
        .client
        .get(replica.url("/v1/links/graphql"))
        .header("upgrade", "websocket");
    assert_eq!(
        problem(request.send().await.unwrap()).await,
        (426, "invalid_upgrade".into())
    );
}
