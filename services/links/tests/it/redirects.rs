//! Following short links.

use reqwest::Method;
use serde_json::json;

use crate::support::{ALICE, BROWSER, Cluster, Replica, eventually, header, problem_code};

const UPDATE: &str =
    "mutation($id: ID!, $input: UpdateLinkInput!) { updateLink(id: $id, input: $input) { id } }";

#[tokio::test]
async fn redirects_are_uncached_unless_permanent() {
    let replica = Cluster::new()
        .await
        .start_with(&[("QUARTET_REDIRECTS_PERMANENT_MAX_AGE_SECONDS", "600")])
        .await;
    for (status, cache) in [
        (302, "private, no-store"),
        (307, "private, no-store"),
        (301, "private, max-age=600"),
        (308, "private, max-age=600"),
    ] {
        let slug = format!("link{status}");
        replica.create(json!({"url": "https://example.com/?a=1#b", "slug": slug, "redirectStatus": status})).await;
        let response = replica.follow(&slug).await;
        assert_eq!(response.status(), status);
        assert_eq!(header(&response, "location"), "https://example.com/?a=1#b");
        assert_eq!(header(&response, "cache-control"), cache);
        let head = replica
            .client
            .head(replica.url(&format!("/s/{slug}")))
            .send()
            .await
            .unwrap();
        assert_eq!(
            (head.status().as_u16(), header(&head, "location")),
            (status, "https://example.com/?a=1#b")
        );
    }
}

#[tokio::test]
async fn permanent_redirects_are_cached_until_the_link_expires() {
    let clock = quartet_common::clock::Clock::manual("2026-05-01T00:00:00Z".parse().unwrap());
    let replica = Cluster::at(clock).await.start().await;
    replica.create(json!({"url": "https://example.com/", "slug": "soon-over", "redirectStatus": 308, "expiresAt": "2026-05-01T00:01:00Z"})).await;
    assert_eq!(
        header(&replica.follow("soon-over").await, "cache-control"),
        "private, max-age=60"
    );
}

#[tokio::test]
async fn links_that_do_not_redirect_return_a_problem_or_a_page() {
    let clock = quartet_common::clock::Clock::manual("2026-05-01T00:00:00Z".parse().unwrap());
    let cluster = Cluster::at(clock).await;
    let replica = cluster.start().await;
    let url = "https://example.com/";
    replica
        .create(json!({"url": url, "slug": "expired", "expiresAt": "2026-05-01T00:00:10Z"}))
        .await;
    replica
        .create(json!({"url": url, "slug": "disabled", "enabled": false}))
        .await;
    replica
        .create(json!({"url": url, "slug": "limited", "maxClicks": 1}))
        .await;
    assert_eq!(replica.follow("expired").await.status(), 302);
    assert_eq!(replica.follow("limited").await.status(), 302);
    cluster.clock.advance(chrono::Duration::seconds(10));
    for (slug, status, code) in [
        ("expired", 410, "link_expired"),
        ("disabled", 410, "link_disabled"),
        ("limited", 410, "link_exhausted"),
        ("unknown", 404, "link_not_found"),
        ("x", 404, "link_not_found"),
        ("not%20a%20slug", 404, "link_not_found"),
        ("nul%00", 404, "link_not_found"),
        ("%C3%A4%C3%B6%C3%BC", 404, "link_not_found"),
    ] {
        assert_eq!(
            problem_code(replica.follow(slug).await).await,
            (status, code.into()),
            "{slug}"
        );
        let page = replica
            .visit(slug)
            .header("accept", "text/html,*/*;q=0.8")
            .send()
            .await
            .unwrap();
        assert_eq!(
            (page.status().as_u16(), header(&page, "content-type")),
            (status, "text/html; charset=utf-8")
        );
        assert!(header(&page, "cache-control").contains("no-store"));
        let problem = replica
            .visit(slug)
            .header("accept", "application/json, text/html;q=0.5");
        let problem = problem.send().await.unwrap();
        assert_eq!(header(&problem, "vary"), "accept, accept-language");
        assert_eq!(problem_code(problem).await, (status, code.into()));
    }
    assert_eq!(
        problem_code(replica.follow("%FF").await).await,
        (400, "invalid_parameter".into())
    );
    let query = "{ links(orderBy: [{field: SLUG}]) { nodes { slug status } } }";
    let data = replica.data(ALICE, query, json!({})).await;
    let expected = json!([{"slug": "disabled", "status": "DISABLED"}, {"slug": "expired", "status": "EXPIRED"}, {"slug": "limited", "status": "EXHAUSTED"}]);
    assert_eq!(data["links"]["nodes"], expected);
}

/// The body and headers of a page, without its nonce.
async fn page(replica: &Replica, slug: &str, language: &str) -> (String, String) {
    let page = replica.visit(slug).header("accept", "text/html");
    let page = page
        .header("accept-language", language)
        .send()
        .await
        .unwrap();
    let policy = header(&page, "content-security-policy").to_owned();
    let nonce = policy
        .split('\'')
        .find_map(|part| part.strip_prefix("nonce-"))
        .unwrap();
    for (name, value) in [
        ("cache-control", "private, no-store"),
        ("referrer-policy", "no-referrer"),
        ("vary", "accept, accept-language"),
        ("x-content-type-options", "nosniff"),
        ("x-robots-tag", "noindex"),
    ] {
        assert_eq!(header(&page, name), value, "{slug}: {name}");
    }
    let chosen = header(&page, "content-language").to_owned();
    let nonce = nonce.to_owned();
    let html = page.text().await.unwrap();
    assert!(
        html.contains(&format!("<style nonce=\"{nonce}\">")),
        "{html}"
    );
    let icon = "<link rel=\"icon\" href=\"data:,\">";
    assert_eq!(
        html.matches(icon).count(),
        1,
        "{slug}: nothing asks for an icon"
    );
    let html = html.replace(icon, "");
    for text in ["<script", "src=", "href=", "://", "onload"] {
        assert!(!html.contains(text), "{slug}: {text}");
    }
    (chosen, html)
}

#[tokio::test]
async fn people_get_pages_in_their_language_that_load_nothing() {
    let replica = Replica::start().await;
    let url = "https://secret.example/";
    replica
        .create(json!({"url": url, "slug": "used-up", "maxClicks": 1}))
        .await;
    replica
        .create(json!({"url": url, "slug": "off", "enabled": false}))
        .await;
    assert_eq!(replica.follow("used-up").await.status(), 302);
    for (slug, english, german, code) in [
        (
            "unknown",
            "There is no such short link",
            "Diesen Kurzlink gibt es nicht",
            "link_not_found",
        ),
        (
            "used-up",
            "This short link is used up",
            "Dieser Kurzlink ist aufgebraucht",
            "link_exhausted",
        ),
        (
            "off",
            "This short link is switched off",
            "Dieser Kurzlink ist abgeschaltet",
            "link_disabled",
        ),
        // Not a slug, and nothing of it is on the page.
        (
            "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
            "There is no such short link",
            "Diesen Kurzlink gibt es nicht",
            "link_not_found",
        ),
    ] {
        for (accepted, chosen, title) in [
            ("fr, en;q=0.8", "en", english),
            ("de-AT, en;q=0.8", "de", german),
            ("xx", "en", english),
        ] {
            let (language, html) = page(&replica, slug, accepted).await;
            assert_eq!(language, chosen, "{slug}");
            assert!(
                html.contains(&format!("<html lang=\"{chosen}\" dir=\"ltr\">")),
                "{html}"
            );
            assert!(html.contains(&format!("<title>{title}</title>")), "{html}");
            assert!(html.contains(&format!("<h1>{title}</h1>")), "{html}");
            assert!(
                html.contains(code) && !html.contains("secret.example"),
                "{html}"
            );
            assert!(!html.contains("alert"), "{html}");
        }
    }
}

#[tokio::test]
async fn max_clicks_holds_under_concurrency() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.start().await, cluster.start().await);
    let link = one
        .create(json!({"url": "https://example.com/", "slug": "ten-only", "maxClicks": 10}))
        .await;
    let visits = (0..30).map(|n| {
        if n % 2 == 0 {
            one.visit("ten-only")
        } else {
            other.visit("ten-only")
        }
    });
    let answers = futures_util::future::join_all(visits.map(reqwest::RequestBuilder::send)).await;
    let through = answers
        .iter()
        .filter(|answer| answer.as_ref().unwrap().status() == 302)
        .count();
    assert_eq!(through, 10);
    let query = "query($id: ID!) { link(id: $id) { uses status } }";
    let seen = one.data(ALICE, query, json!({"id": link["id"]})).await;
    assert_eq!(seen["link"], json!({"uses": 10, "status": "EXHAUSTED"}));
    one.data(
        ALICE,
        UPDATE,
        json!({"id": link["id"], "input": {"maxClicks": 11}}),
    )
    .await;
    assert_eq!(one.follow("ten-only").await.status(), 302);
    assert_eq!(one.follow("ten-only").await.status(), 410);
}

#[tokio::test]
async fn a_repeated_request_takes_one_use_and_is_one_click() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.start().await, cluster.start().await);
    let link = one
        .create(json!({"url": "https://example.com/", "slug": "one-time", "maxClicks": 1}))
        .await;
    let request_id = cluster.clock.uuid_v7().to_string();
    let visits = (0..20).map(|n| {
        let replica = if n % 2 == 0 { &one } else { &other };
        let visit = replica.visit("one-time");
        visit.header("x-request-id", &request_id).send()
    });
    for answer in futures_util::future::join_all(visits).await {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 302);
        assert_eq!(header(&answer, "location"), "https://example.com/");
    }
    let id = link["id"].as_str().unwrap();
    one.expect_counts(id, [1, 1, 1, 0]).await;
    let query = "query($id: ID!) { link(id: $id) { uses } }";
    let seen = one.data(ALICE, query, json!({"id": id})).await;
    assert_eq!(seen["link"]["uses"], 1);
    assert_eq!(other.follow("one-time").await.status(), 410);
}

/// A visitor who may choose the request id, behind a proxy that passes it on.
#[tokio::test]
async fn a_chosen_request_id_shares_no_use() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    for slug in ["shared", "ahead"] {
        let input = json!({"url": "https://example.com/", "slug": slug, "maxClicks": 1});
        replica.create(input).await;
    }
    let same = cluster.clock.uuid_v7().to_string();
    let visit = async |slug: &str, id: &str, agent: &str| {
        // Not `visit`: a second user agent would not replace the first one.
        let visit = replica.client.get(replica.url(&format!("/s/{slug}")));
        let visit = visit.header("x-request-id", id);
        let response = visit.header("user-agent", agent).send().await.unwrap();
        response.status().as_u16()
    };
    let (one, other) = (
        "Mozilla/5.0 (X11) Firefox/140.0",
        "Mozilla/5.0 (X11) Firefox/141.0",
    );
    assert_eq!(visit("shared", &same, one).await, 302);
    assert_eq!(visit("shared", &same, other).await, 410, "another visitor");
    assert_eq!(visit("shared", &same, one).await, 302, "the same request");
    let ms = cluster.clock.now().timestamp_millis() + 30_000;
    let ahead = uuid::Builder::from_unix_timestamp_millis(ms.try_into().unwrap(), &[7; 10]);
    let ahead = ahead.into_uuid().to_string();
    assert_eq!(visit("ahead", &ahead, one).await, 302);
    assert_eq!(visit("ahead", &ahead, one).await, 410);
}

/// A replica that has not heard of a change yet.
#[tokio::test]
async fn a_limited_link_that_is_gone_is_not_called_exhausted() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    let mut admin = cluster.database.connect_as_admin().await;
    for trigger in ["notify_updates", "notify_deletes"] {
        let mute = format!("ALTER TABLE links.links DISABLE TRIGGER {trigger}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(mute))
            .execute(&mut admin)
            .await
            .unwrap();
    }
    for (slug, change, expected) in [
        (
            "off",
            "UPDATE links.links SET enabled = false",
            (410, "link_disabled"),
        ),
        (
            "late",
            "UPDATE links.links SET expires_at = created_at",
            (410, "link_expired"),
        ),
        ("gone", "DELETE FROM links.links", (404, "link_not_found")),
    ] {
        let input = json!({"url": "https://example.com/", "slug": slug, "maxClicks": 5});
        replica.create(input).await;
        assert_eq!(replica.follow(slug).await.status(), 302);
        let change = format!("{change} WHERE slug = '{slug}'");
        sqlx::raw_sql(sqlx::AssertSqlSafe(change))
            .execute(&mut admin)
            .await
            .unwrap();
        for _ in 0..2 {
            let (status, code) = problem_code(replica.follow(slug).await).await;
            assert_eq!((status, code.as_str()), expected);
        }
    }
}

#[tokio::test]
async fn one_request_id_on_two_links_is_two_clicks() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    let links = [replica.link().await, replica.link().await];
    let request_id = cluster.clock.uuid_v7().to_string();
    for _ in 0..3 {
        for (_, slug) in &links {
            let visit = replica.visit(slug).header("x-request-id", &request_id);
            assert_eq!(visit.send().await.unwrap().status(), 302);
        }
    }
    for (id, _) in &links {
        replica.expect_counts(id, [1, 1, 1, 0]).await;
    }
    // Each repetition is in the log, and none is counted again.
    eventually(async || {
        let logged = replica.metric("links_clicks_logged_total").await;
        let held = replica.metric("links_click_log_lag_milliseconds").await;
        (logged == 6 && held >= 0).then_some(())
    })
    .await;
    replica.expect_counts(&links[0].0, [1, 1, 1, 0]).await;
}

#[tokio::test]
async fn a_use_is_not_taken_without_its_click() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    let link = replica
        .create(json!({"url": "https://example.com/", "slug": "both", "maxClicks": 1}))
        .await;
    let mut admin = cluster.database.connect_as_admin().await;
    for (statement, status) in [
        (
            "ALTER TABLE links.clicks ADD CONSTRAINT none CHECK (device = '')",
            500,
        ),
        ("ALTER TABLE links.clicks DROP CONSTRAINT none", 302),
        ("SELECT 1", 410),
    ] {
        sqlx::query(statement).execute(&mut admin).await.unwrap();
        assert_eq!(replica.follow("both").await.status(), status, "{statement}");
    }
    let id = link["id"].as_str().unwrap();
    assert_eq!(replica.counts(id).await, [1, 1, 1, 0]);
}

#[tokio::test]
async fn a_limited_link_needs_no_click_log() {
    let limits = [
        ("QUARTET_CLICKS_SEGMENT_BYTES", "4096"),
        ("QUARTET_CLICKS_LOG_LIMIT_BYTES", "4096"),
        ("QUARTET_CLICKS_WHEN_LOG_IS_FULL", "refuse"),
        ("QUARTET_CLICKS_BATCH_WAIT_MS", "10000"),
    ];
    let replica = Cluster::new().await.start_with(&limits).await;
    let (_, plain) = replica.link().await;
    replica
        .create(json!({"url": "https://example.com/", "slug": "limited", "maxClicks": 2}))
        .await;
    eventually(async || (replica.follow(&plain).await.status() == 503).then_some(())).await;
    assert_eq!(replica.follow("limited").await.status(), 302);
}

/// A request with a body passes the router, one without may be answered in front of it.
#[tokio::test]
async fn both_ways_of_answering_give_the_same_response() {
    let replica = Cluster::new().await.start().await;
    let url = "https://example.com/?a=1#b";
    for status in [301, 302, 307, 308] {
        let input = json!({"url": url, "slug": format!("link{status}"), "redirectStatus": status});
        replica.create(input).await;
    }
    replica
        .create(json!({"url": url, "slug": "off", "enabled": false}))
        .await;
    replica
        .create(json!({"url": url, "slug": "limited", "maxClicks": 9}))
        .await;
    let slugs = [
        "link301", "link302", "link307", "link308", "off", "limited", "unknown", "x",
    ];
    replica.warm_cache(&slugs[..6]).await;
    for slug in slugs {
        for method in [Method::GET, Method::HEAD] {
            let request = || {
                replica
                    .client
                    .request(method.clone(), replica.url(&format!("/s/{slug}")))
                    .header("user-agent", BROWSER)
                    .header("x-request-id", "the-same")
            };
            let answers = [request(), request().body("routed")].map(async |request| {
                let answer = request.send().await.unwrap();
                let mut headers = answer.headers().clone();
                headers.remove("date");
                let status = answer.status();
                let mut text = answer.text().await.unwrap();
                // Each page has a nonce of its own.
                if let Some(policy) = headers.remove("content-security-policy") {
                    let policy = policy.to_str().unwrap();
                    let nonce = policy.split('\'').find(|part| part.starts_with("nonce-"));
                    let nonce = nonce.unwrap().trim_start_matches("nonce-");
                    text = (text + policy).replace(nonce, "");
                }
                (status, headers, text)
            });
            let [front, router] = answers;
            assert_eq!(front.await, router.await, "{method} {slug}");
        }
    }
}

#[tokio::test]
async fn a_slash_after_the_slug_changes_nothing() {
    let replica = Replica::start().await;
    let (id, slug) = replica.link().await;
    let answer = replica.follow(&format!("{slug}/")).await;
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "location")),
        (302, "https://example.com/")
    );
    assert_eq!(replica.follow(&format!("{slug}//")).await.status(), 404);
    replica.expect_counts(&id, [1, 1, 1, 0]).await;
}

#[tokio::test]
async fn people_in_apps_and_on_old_phones_use_a_limited_link() {
    let replica = Replica::start().await;
    replica
        .create(json!({"url": "https://example.com/", "slug": "limited", "maxClicks": 9}))
        .await;
    let agents: [&[u8]; 3] = [
        b"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [Pinterest/iOS]",
        b"Mozilla/5.0 (Linux; Android 9; T\xE9l\xE9phone Build/1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0 Mobile Safari/537.36",
        "Mozilla/5.0 (Linux; Android 9; 手机 Build/1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0 Mobile Safari/537.36".as_bytes(),
    ];
    for agent in agents {
        let request = replica.client.get(replica.url("/s/limited"));
        let answer = request.header("user-agent", agent).send().await.unwrap();
        assert_eq!(answer.status(), 302, "{}", agent.escape_ascii());
    }
}

#[tokio::test]
async fn bots_do_not_use_up_max_clicks_and_do_not_learn_the_target() {
    let replica = Replica::start().await;
    replica
        .create(json!({"url": "https://secret.example/", "slug": "once", "maxClicks": 1}))
        .await;
    let get = |agent: &str| {
        replica
            .client
            .get(replica.url("/s/once"))
            .header("user-agent", agent)
    };
    let head = replica
        .client
        .head(replica.url("/s/once"))
        .header("user-agent", BROWSER);
    for request in [
        get("Slackbot-LinkExpanding 1.0"),
        get("curl/8"),
        get(""),
        head,
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), header(&response, "location")),
            (200, "")
        );
        assert!(!response.text().await.unwrap().contains("secret.example"));
    }
    let ahead = get(BROWSER)
        .header("sec-purpose", "prefetch")
        .send()
        .await
        .unwrap();
    assert_eq!(problem_code(ahead).await, (403, "prefetch_refused".into()));
    assert_eq!(
        header(&replica.follow("once").await, "location"),
        "https://secret.example/"
    );
}

#[tokio::test]
async fn cached_links_and_cached_unknown_slugs_cause_no_lookup() {
    let cluster = Cluster::new().await;
    let (editor, replica) = (cluster.start().await, cluster.start().await);
    let (_, slug) = editor.link().await;
    let (id, marker) = editor.link().await;
    replica.warm_cache(&[&marker]).await;
    let edit = json!({"id": id, "input": {"url": "https://example.org/"}});
    editor.data(ALICE, UPDATE, edit).await;
    // Notifications arrive in order: after this one, that of the other link's creation is handled.
    eventually(async || {
        let is_edited =
            header(&replica.follow(&marker).await, "location") == "https://example.org/";
        is_edited.then_some(())
    })
    .await;

    let before = replica.metric("links_redirect_loads_total").await;
    let loads = async || replica.metric("links_redirect_loads_total").await - before;
    let visits = (0..50).map(|_| replica.follow(&slug));
    futures_util::future::join_all(visits).await;
    assert_eq!(loads().await, 1, "many at once wait for one lookup");
    for _ in 0..5 {
        assert_eq!(replica.follow("unknown").await.status(), 404);
    }
    assert_eq!(loads().await, 2);
    for _ in 0..5 {
        assert_eq!(replica.follow("x").await.status(), 404);
    }
    assert_eq!(loads().await, 2, "what cannot be a slug is not looked up");
}

#[tokio::test]
async fn other_methods_return_405() {
    let replica = Replica::start().await;
    let (_, slug) = replica.link().await;
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let response = replica
            .client
            .request(method, replica.url(&format!("/s/{slug}")))
            .send()
            .await
            .unwrap();
        assert_eq!(
            problem_code(response).await,
            (405, "method_not_allowed".into())
        );
    }
}

/// `Location` is an absolute URL, however the target was spelled: one without a scheme or with a
/// backslash would be read by browsers relative to the short URL, or as another host.
#[tokio::test]
async fn a_location_always_names_scheme_and_host() {
    let replica = Replica::start().await;
    let spellings = [
        ("https://example.com", Some("https://example.com/")),
        ("https:example.com/a", Some("https://example.com/a")),
        ("https:/example.com/a", Some("https://example.com/a")),
        ("https:///example.com/a", Some("https://example.com/a")),
        ("https:\\\\example.com\\a", Some("https://example.com/a")),
        (
            "https://example.com//evil.example",
            Some("https://example.com//evil.example"),
        ),
        (
            "https://example.com\\@evil.example",
            Some("https://example.com/@evil.example"),
        ),
        ("//evil.example", None),
        ("/\\evil.example", None),
        ("\\\\evil.example", None),
        ("///evil.example", None),
        ("/evil.example", None),
        ("evil.example", None),
        ("\t//evil.example", None),
        ("java\tscript:alert(1)", None),
        ("https://\t/evil.example", None),
        ("https://example.com/\r\nLocation: //evil.example", None),
    ];
    for (number, (url, location)) in spellings.into_iter().enumerate() {
        let slug = format!("spelling-{number}");
        let input = json!({"url": url, "slug": slug});
        let create = "mutation($input: CreateLinkInput!) { createLink(input: $input) { id } }";
        let created = replica
            .execute(ALICE, create, json!({ "input": input }))
            .await;
        assert_eq!(
            created["errors"].is_array(),
            location.is_none(),
            "{url}: {created}"
        );
        // From the database, then from the cache.
        for _ in 0..2 {
            let response = replica.follow(&slug).await;
            assert_eq!(
                header(&response, "location"),
                location.unwrap_or_default(),
                "{url}"
            );
        }
    }
}

/// The cache of a replica may still have the maximum that an edit has removed.
#[tokio::test]
async fn uses_are_not_counted_without_a_maximum() {
    let replica = Replica::start().await;
    let limited = json!({"url": "https://example.com/", "slug": "limited", "maxClicks": 1000});
    replica.create(limited).await;
    replica.warm_cache(&["limited"]).await;
    let mut admin = replica.cluster.database.connect_as_admin().await;
    let unnoticed = "SET session_replication_role = replica;
        UPDATE links.links SET max_clicks = NULL, uses = 0";
    sqlx::raw_sql(unnoticed).execute(&mut admin).await.unwrap();
    assert_eq!(replica.follow("limited").await.status(), 302);
    let uses = "SELECT uses FROM links.links";
    let uses: i32 = sqlx::query_scalar(uses)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(uses, 0);
}
