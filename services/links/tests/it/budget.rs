//! What one user may cause is bounded, over every transport.

use quartet_testing::until_waiting;
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::{ALICE, BOB, Cluster, Replica, Socket, eventually, header, within_deadline};

async fn send(replica: &Replica, subject: &str, query: &str, variables: Value) -> Response {
    let body = json!({"query": query, "variables": variables});
    replica.post(subject).json(&body).send().await.unwrap()
}

async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    (
        status,
        body["errors"][0]["extensions"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    )
}

#[tokio::test]
async fn introspection_is_charged() {
    let replica = Replica::start().await;
    let aliases = |count: usize| -> String {
        let fields = (0..count).map(|n| format!("s{n}: __schema {{ types {{ name }} }} "));
        format!("{{ {} }}", fields.collect::<String>())
    };
    let one = send(&replica, ALICE, &aliases(1), json!({})).await;
    assert_eq!(one.status(), 200);
    let many = send(&replica, ALICE, &aliases(20), json!({})).await;
    assert_eq!(many.status(), 400);
    let body = many.text().await.unwrap();
    assert!(body.contains("TOO_EXPENSIVE"), "{body}");
}

#[tokio::test]
async fn the_points_of_a_series_and_the_sizes_of_lists_are_charged() {
    let replica = Replica::start().await;
    let series = |from: &str, to: &str| {
        format!(
            "series(by: HOUR, from: \"{from}\", to: \"{to}\") {{ at total people unique bots }}"
        )
    };
    let (from, to) = ("2026-01-01T00:00:00Z", "2026-02-10T00:00:00Z");
    let one = format!(
        "{{ links(first: 1) {{ nodes {{ clicks {{ {} }} }} }} }}",
        series(from, to)
    );
    assert_eq!(
        send(&replica, ALICE, &one, json!({})).await.status(),
        200,
        "960 points of 5 fields"
    );
    let aliases: Vec<String> = (0..9)
        .map(|n| format!("s{n}: {} ", series(from, to)))
        .collect();
    let aliases = aliases.concat();
    let many = format!("{{ links(first: 20) {{ nodes {{ clicks {{ {aliases} }} }} }} }}");
    let two = format!(
        "{{ links(first: 3) {{ nodes {{ clicks {{ s: {} }} }} }} }}",
        series(from, to)
    );
    let by_variable = "query($n: Int = 100, $to: DateTime) { links(first: $n) { nodes { clicks {
        series(by: DAY, to: $to) { at total people unique bots } } } } }";
    let too_expensive = (400, "TOO_EXPENSIVE".to_owned());
    for query in [&many, &two, by_variable] {
        assert_eq!(
            code(send(&replica, ALICE, query, json!({})).await).await,
            too_expensive,
            "{query}"
        );
    }
    let small = send(&replica, ALICE, by_variable, json!({"n": 5})).await;
    assert_eq!(small.status(), 200);
    let url = replica.url("/v1/links/graphql");
    let get = replica.client.get(url).query(&[("query", many.as_str())]);
    let get = get
        .bearer_auth(replica.token(ALICE))
        .header("accept", "application/graphql-response+json");
    assert_eq!(code(get.send().await.unwrap()).await, too_expensive);
    let mut socket = replica.socket_of(ALICE).await;
    socket.subscribe("1", &many).await;
    let refused = socket.receive().await;
    assert_eq!(refused["type"], "error", "{refused}");
    assert_eq!(
        refused["payload"][0]["extensions"]["code"], "TOO_EXPENSIVE",
        "{refused}"
    );
    let events = replica.post(ALICE).header("accept", "text/event-stream");
    let events = events.json(&json!({"query": many})).send().await.unwrap();
    assert!(events.text().await.unwrap().contains("TOO_EXPENSIVE"));
}

#[tokio::test]
async fn empty_filters_and_the_values_of_variables_are_charged() {
    let replica = Replica::start().await;
    let query = "query($w: LinkFilter) { links(first: 1, where: $w) { nodes { id } } }";
    for name in ["_or", "_and"] {
        let filters = |count: usize| json!({"w": {name: vec![json!({}); count]}});
        let allowed = send(&replica, ALICE, query, filters(1000)).await;
        assert_eq!(allowed.status(), 200, "{name}");
        let refused = send(&replica, ALICE, query, filters(10_500)).await;
        assert_eq!(
            code(refused).await,
            (400, "TOO_EXPENSIVE".to_owned()),
            "{name}"
        );
    }
    // Each use of a variable counts.
    let uses: Vec<String> = (0..20)
        .map(|n| format!("a{n}: links(first: 1, where: $w) {{ nodes {{ id }} }} "))
        .collect();
    let uses = uses.concat();
    let query = format!("query($w: LinkFilter) {{ {uses} }}");
    let variables = json!({"w": {"_and": vec![json!({}); 1000]}});
    let refused = send(&replica, ALICE, &query, variables).await;
    assert_eq!(code(refused).await, (400, "TOO_EXPENSIVE".to_owned()));
    // The body itself is bounded.
    let body = json!({"query": query, "variables": {"w": {"_or": vec![json!({}); 300_000]}}});
    let refused = replica.post(ALICE).json(&body).send().await.unwrap();
    assert_eq!(refused.status(), 413);
}

#[tokio::test]
async fn patterns_are_charged_as_they_read_every_link() {
    let replica = Replica::start().await;
    let pattern = "{slug: {_ilike: \"%a%\"}}";
    let query = |count: usize| {
        let patterns = vec![pattern; count].join(", ");
        format!("{{ links(first: 1, where: {{_or: [{patterns}]}}) {{ nodes {{ id }} }} }}")
    };
    assert_eq!(
        send(&replica, ALICE, &query(10), json!({})).await.status(),
        200
    );
    let refused = send(&replica, ALICE, &query(20), json!({})).await;
    assert_eq!(code(refused).await, (400, "TOO_EXPENSIVE".to_owned()));
}

#[tokio::test]
async fn a_response_has_at_most_the_configured_bytes() {
    let cluster = Cluster::new().await;
    let replica = cluster
        .start_with(&[("QUARTET_GRAPHQL_MAX_RESPONSE_BYTES", "20000")])
        .await;
    let url = format!("https://example.com/{}", "x".repeat(3000));
    for _ in 0..8 {
        replica.create(json!({"url": url})).await;
    }
    let urls = |first: usize| format!("{{ links(first: {first}) {{ nodes {{ url }} }} }}");
    let allowed = send(&replica, ALICE, &urls(5), json!({}))
        .await
        .bytes()
        .await
        .unwrap();
    assert!(
        (15_000..20_000).contains(&allowed.len()),
        "{}",
        allowed.len()
    );
    let too_large = (400, "RESPONSE_TOO_LARGE".to_owned());
    assert_eq!(
        code(send(&replica, ALICE, &urls(8), json!({})).await).await,
        too_large
    );
    // Long names count as well: they are repeated for every link.
    let key = "k".repeat(4000);
    let query = format!("{{ links(first: 8) {{ nodes {{ {key}: id }} }} }}");
    assert_eq!(
        code(send(&replica, ALICE, &query, json!({})).await).await,
        too_large
    );
    let mut socket = replica.socket_of(ALICE).await;
    socket.subscribe("1", &urls(8)).await;
    let refused = socket.receive().await;
    assert_eq!(
        refused["payload"][0]["extensions"]["code"], "RESPONSE_TOO_LARGE",
        "{refused}"
    );
}

#[tokio::test]
async fn all_transports_share_a_quota_and_say_what_is_left() {
    let cluster = Cluster::new().await;
    let settings = [
        ("QUARTET_GRAPHQL_COST_BURST", "10000"),
        ("QUARTET_GRAPHQL_COST_PER_SECOND", "1"),
    ];
    let replica = cluster.start_with(&settings).await;
    let query = "{ links(first: 100) { nodes { id slug url title enabled uses } totalCount } }";
    let first = send(&replica, ALICE, query, json!({})).await;
    assert_eq!(first.status(), 200);
    assert_eq!(
        header(&first, "ratelimit-policy"),
        "\"graphql-cost\";q=10000;w=10000"
    );
    let left = header(&first, "ratelimit").to_owned();
    assert!(left.starts_with("\"graphql-cost\";r=82"), "{left}");
    let mut socket = replica.socket_of(ALICE).await;
    let mut served = 0;
    let refused = loop {
        socket.subscribe("1", query).await;
        let message = socket.receive().await;
        if message["type"] == "error" {
            break message["payload"][0]["extensions"].clone();
        }
        assert_eq!(socket.receive().await["type"], "complete");
        served += 1;
    };
    assert_eq!(served, 4, "of 1700 units each");
    assert_eq!(refused["code"], "RATE_LIMITED");
    assert!(
        refused["retryAfterSeconds"].as_u64().unwrap() > 100,
        "{refused}"
    );
    let response = send(&replica, ALICE, query, json!({})).await;
    assert!(header(&response, "retry-after").parse::<u64>().unwrap() > 100);
    assert_eq!(code(response).await, (429, "RATE_LIMITED".to_owned()));
    let events = replica.post(ALICE).header("accept", "text/event-stream");
    let events = events.json(&json!({"query": query})).send().await.unwrap();
    assert!(events.text().await.unwrap().contains("RATE_LIMITED"));
    // Refused documents are not free either.
    let invalid = format!("{{ nothing }} # {}", "x".repeat(30_000));
    for _ in 0..12 {
        send(&replica, ALICE, &invalid, json!({})).await;
    }
    assert_eq!(
        code(send(&replica, ALICE, &invalid, json!({})).await).await,
        (429, "RATE_LIMITED".to_owned())
    );
    assert_eq!(
        send(&replica, BOB, query, json!({})).await.status(),
        200,
        "others have their own"
    );
}

/// Pings begin no operation, and are answered.
#[tokio::test]
async fn messages_on_a_socket_are_charged_and_read_no_faster_than_the_quota_refills() {
    let cluster = Cluster::new().await;
    let settings = [
        ("QUARTET_GRAPHQL_MAX_COST", "100"),
        ("QUARTET_GRAPHQL_COST_BURST", "100"),
        ("QUARTET_GRAPHQL_COST_PER_SECOND", "1"),
    ];
    let replica = cluster.start_with(&settings).await;
    let mut socket = replica.socket_of(ALICE).await;
    for _ in 0..300 {
        socket.send_json(json!({"type": "ping"})).await;
    }
    for _ in 0..100 {
        assert_eq!(socket.receive().await, json!({"type": "pong"}));
    }
    let query = "{ __typename }";
    let refused = send(&replica, ALICE, query, json!({})).await;
    assert_eq!(code(refused).await, (429, "RATE_LIMITED".to_owned()));
    let mut further = 0;
    let reading = async {
        loop {
            socket.receive().await;
            further += 1;
        }
    };
    let pause = std::time::Duration::from_millis(300);
    assert!(tokio::time::timeout(pause, reading).await.is_err());
    assert!(further < 20, "{further} of 200 are answered at once");
    let other = send(&replica, BOB, query, json!({})).await;
    assert_eq!(other.status(), 200);
}

#[tokio::test]
async fn a_socket_without_a_user_has_little_to_send() {
    let replica = Replica::start().await;
    let mut socket = replica.socket().await;
    let ping = json!({"type": "ping", "payload": {"a": "x".repeat(60_000)}});
    socket.send_json(ping.clone()).await;
    assert_eq!(socket.receive().await["type"], "pong");
    socket.send_json(ping).await;
    let (code, reason) = socket.close().await;
    assert_eq!(code, 4400, "{reason}");
    let mut socket = replica.socket().await;
    for _ in 0..1001 {
        socket.send_json(json!({"type": "pong"})).await;
    }
    assert_eq!(socket.close_code().await, 4400);
}

#[tokio::test]
async fn sockets_and_subscriptions_of_a_user_are_counted() {
    let cluster = Cluster::new().await;
    let settings = [
        ("QUARTET_GRAPHQL_MAX_SOCKETS_PER_USER", "2"),
        ("QUARTET_GRAPHQL_MAX_SUBSCRIPTIONS_PER_USER", "2"),
    ];
    let replica = cluster.start_with(&settings).await;
    let (id, _) = replica.link().await;
    let mut first = replica.socket_of(ALICE).await;
    let second = replica.socket_of(ALICE).await;
    let mut third = replica.socket().await;
    let payload = json!({"authorization": format!("Bearer {}", replica.token(ALICE))});
    third
        .send_json(json!({"type": "connection_init", "payload": payload}))
        .await;
    assert_eq!(third.close_code().await, 1013);
    replica.socket_of(BOB).await;

    first.subscribe_clicks("1", &id).await;
    let query = format!("subscription {{ clicks(linkId: \"{id}\") {{ id }} }}");
    let events = replica.post(ALICE).header("accept", "text/event-stream");
    let stream = events.json(&json!({"query": query})).send().await.unwrap();
    eventually(async || (replica.metric("links_subscriptions").await == 2).then_some(())).await;
    first.subscribe_clicks("2", &id).await;
    let refused = first.receive().await;
    assert_eq!(
        refused["payload"][0]["extensions"]["code"], "TOO_MANY_SUBSCRIPTIONS",
        "{refused}"
    );
    drop(stream);
    eventually(async || (replica.metric("links_subscriptions").await == 1).then_some(())).await;
    first.subscribe_clicks("3", &id).await;
    eventually(async || (replica.metric("links_subscriptions").await == 2).then_some(())).await;

    drop(second);
    let again = eventually(async || {
        let mut socket = replica.socket().await;
        let payload = json!({"authorization": format!("Bearer {}", replica.token(ALICE))});
        socket
            .send_json(json!({"type": "connection_init", "payload": payload}))
            .await;
        socket.is_acknowledged().await.then_some(socket)
    });
    again.await;
}

/// A client that does not read makes its operations wait, however many it starts.
#[tokio::test]
async fn the_bytes_that_wait_for_a_slow_socket_are_bounded() {
    let cluster = Cluster::new().await;
    let settings = [
        ("QUARTET_GRAPHQL_MAX_QUEUED_BYTES_PER_SOCKET", "300000"),
        ("QUARTET_GRAPHQL_MAX_QUEUED_BYTES_PER_USER", "300000"),
        ("QUARTET_GRAPHQL_COST_BURST", "1000000"),
    ];
    let replica = cluster.start_with(&settings).await;
    let url = format!("https://example.com/{}", "x".repeat(8000));
    for _ in 0..20 {
        replica.create(json!({"url": url})).await;
    }
    let query = "{ links(first: 20) { nodes { url } } }";
    let mut slow = replica.socket_of(ALICE).await;
    for n in 0..50 {
        slow.subscribe(&n.to_string(), query).await;
    }
    // 160 KB each: what is not in the buffers of TCP waits.
    let queued = eventually(async || {
        let queued = replica.metric("links_graphql_queued_bytes").await;
        (queued > 150_000).then_some(queued)
    });
    assert!(queued.await <= 300_000);
    assert!(replica.metric("links_graphql_queued_bytes").await <= 300_000);
    // The same user's HTTP requests are served, as others' are.
    assert_eq!(
        send(&replica, BOB, "{ links { totalCount } }", json!({}))
            .await
            .status(),
        200
    );
    let mut received = 0;
    while received < 50 {
        let message = slow.receive().await;
        received += usize::from(message["type"] == "complete");
    }
    assert_eq!(replica.metric("links_graphql_queued_bytes").await, 0);
}

#[tokio::test]
async fn a_user_holds_only_some_of_the_connections() {
    let cluster = Cluster::new().await;
    let replica = cluster
        .start_with(&[
            ("QUARTET_DATABASE_MAX_CONNECTIONS", "3"),
            ("QUARTET_GRAPHQL_MAX_CONNECTIONS_PER_USER", "2"),
        ])
        .await;
    let (id, _) = replica.link().await;
    let mut admin = cluster.database.connect_as_admin().await;
    let mut watcher = cluster.database.connect_as_admin().await;
    let lock = "BEGIN; SELECT FROM links.links FOR UPDATE";
    sqlx::raw_sql(lock).execute(&mut admin).await.unwrap();
    let update = "mutation($id: ID!) { updateLink(id: $id, input: {title: \"new\"}) { title } }";
    let updates = (0..6).map(|_| replica.execute(ALICE, update, json!({"id": id})));
    let updates = futures_util::future::join_all(updates);
    let other = async {
        until_waiting(&mut watcher, 2).await;
        let read = send(&replica, BOB, "{ links { totalCount } }", json!({})).await;
        assert_eq!(read.status(), 200);
        sqlx::raw_sql("COMMIT").execute(&mut admin).await.unwrap();
    };
    let (updates, ()) = within_deadline(async { tokio::join!(updates, other) }).await;
    for updated in updates {
        assert_eq!(updated["data"]["updateLink"]["title"], "new", "{updated}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_cannot_open_a_socket() {
    let cluster = Cluster::new().await;
    let settings = [(
        "QUARTET_GRAPHQL_ALLOWED_ORIGINS",
        "https://console.example.com",
    )];
    let replica = cluster.start_with(&settings).await;
    let own = format!("http://{}", replica.address);
    let protocol = ("sec-websocket-protocol", "graphql-transport-ws");
    for origin in [
        own.as_str(),
        "http://localhost:8080",
        "https://console.example.com",
    ] {
        Socket::open_with(replica.address, &[protocol, ("origin", origin)]).await;
    }
    for origin in [
        "https://evil.example",
        "null",
        "http://localhost:8081",
        "https://console.example.com.evil.example",
    ] {
        let request = replica.client.get(replica.url("/v1/links/graphql"));
        let request = request
            .header("upgrade", "websocket")
            .header("connection", "upgrade")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("origin", origin);
        let refused = crate::support::problem_code(request.send().await.unwrap()).await;
        assert_eq!(refused, (403, "origin_not_allowed".to_owned()), "{origin}");
    }
}
