//! Several issuers, what routes require of tokens, and what upstreams learn of them.
#![expect(clippy::too_many_lines, reason = "tables of cases")]

use std::{net::SocketAddr, time::Duration};

use axum::{Router, body::Body, routing::get};
use http::StatusCode;
use quartet_common::clock::Clock;
use quartet_testing::Issuer;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{
    Gateway, client, command, echo, free_address, problem, route, serve, upstream,
};

const KEYCLOAK: &str = "https://keycloak.example/realms/shop";
const HASURA: &str = "https://hasura.io/jwt/claims";

/// `[jwt]` of `own`, and the issuer `keycloak`.
async fn settings(own: &Issuer, keycloak: SocketAddr, more: &str) -> String {
    let jwks = own.serve().await;
    let address = serve(echo()).await;
    [
        upstream(&[address]),
        format!("[jwt]\njwks_url = \"http://{jwks}/.well-known/jwks.json\"\n"),
        format!(
            "[issuers.keycloak]\nissuer = \"{KEYCLOAK}\"\naudience = [\"shop\", \"account\"]\n\
             jwks_url = \"http://{keycloak}/.well-known/jwks.json\"\n{more}\n"
        ),
    ]
    .concat()
}

/// A route that verifies tokens.
fn guarded(name: &str, more: &str) -> String {
    route(name, &format!("/{name}"), more).replace("\"public\"", "\"required\"")
}

fn keycloak_token(issuer: &Issuer, subject: &str, claims: Value) -> String {
    let mut all = json!({ "iss": KEYCLOAK, "aud": ["other", "account"] });
    all.as_object_mut()
        .unwrap()
        .extend(claims.as_object().unwrap().clone());
    issuer.token_with(subject, all)
}

async fn call(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = client().get(gateway.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

async fn with_token(gateway: &Gateway, path: &str, token: &str) -> reqwest::Response {
    call(
        gateway,
        path,
        &[("authorization", &format!("Bearer {token}"))],
    )
    .await
}

/// What the upstream received under a name.
async fn echoed(response: reqwest::Response, name: &str) -> Vec<String> {
    assert_eq!(response.status(), 200);
    let body: Value = response.json().await.unwrap();
    let headers = body["headers"].as_array().unwrap().iter();
    let named = headers.filter(|header| header[0] == name);
    named
        .map(|header| header[1].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_verified_by_its_issuer_alone() {
    let clock = Clock::system();
    let (own, keycloak) = (Issuer::new(clock.clone()), Issuer::new(clock));
    let text = [
        settings(&own, keycloak.serve().await, "").await,
        guarded("both", "issuers = [\"jwt\", \"keycloak\"]"),
        guarded("own", ""),
        guarded("foreign", "issuers = \"keycloak\""),
    ];
    let gateway = Gateway::start(&text.concat()).await;
    let (ours, theirs) = (
        own.token("usr_1"),
        keycloak_token(&keycloak, "usr_1", json!({})),
    );
    for (path, token, user) in [
        ("/both", &ours, "usr_1"),
        ("/own", &ours, "usr_1"),
        ("/both", &theirs, "keycloak:usr_1"),
        ("/foreign", &theirs, "keycloak:usr_1"),
    ] {
        // The second time, from the cache.
        for _ in 0..2 {
            let response = with_token(&gateway, path, token).await;
            assert_eq!(echoed(response, "x-user-id").await, [user], "{path}");
        }
    }
    let line = gateway.access_line("/foreign").await;
    assert_eq!(line["caller_id"], "keycloak:usr_1");
    // The keys of one issuer do not vouch for another.
    let forged = [
        keycloak.token("usr_1"),
        keycloak_token(&own, "usr_1", json!({})),
        keycloak_token(
            &keycloak,
            "usr_1",
            json!({ "iss": "https://elsewhere.example" }),
        ),
        keycloak_token(&keycloak, "usr_1", json!({ "iss": null })),
        keycloak_token(&keycloak, "usr_1", json!({ "iss": [KEYCLOAK] })),
        keycloak_token(&keycloak, "usr_1", json!({ "aud": "quartet" })),
        // Whose users would be taken for those of the other issuer, or cannot be named.
        own.token("keycloak:usr_1"),
        own.token("usr_\u{fc}"),
        own.token(""),
        keycloak_token(&keycloak, "a\nb", json!({})),
        keycloak_token(&keycloak, "", json!({})),
    ];
    for token in &forged {
        problem(
            with_token(&gateway, "/both", token).await,
            401,
            "unauthenticated",
        )
        .await;
    }
    problem(
        with_token(&gateway, "/own", &theirs).await,
        401,
        "unauthenticated",
    )
    .await;
    problem(
        with_token(&gateway, "/foreign", &ours).await,
        401,
        "unauthenticated",
    )
    .await;
}

/// One prefix may begin with another one: whose user it is, the longest one says.
#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_may_begin_another_one() {
    let clock = Clock::system();
    let (own, keycloak) = (Issuer::new(clock.clone()), Issuer::new(clock));
    let address = keycloak.serve().await;
    let more = format!(
        "[issuers.staff]\nissuer = \"https://staff.example\"\naudience = \"\"\n\
         subject_prefix = \"keycloak:staff:\"\n\
         jwks_url = \"http://{address}/.well-known/jwks.json\"\n"
    );
    let text = [
        settings(&own, address, &more).await,
        guarded("r", "issuers = [\"jwt\", \"keycloak\", \"staff\"]"),
    ];
    let gateway = Gateway::start(&text.concat()).await;
    let staff = keycloak.token_with("1", json!({ "iss": "https://staff.example" }));
    let response = with_token(&gateway, "/r", &staff).await;
    assert_eq!(echoed(response, "x-user-id").await, ["keycloak:staff:1"]);
    for (subject, status) in [("1", 200), ("staff:1", 401), ("staff", 200)] {
        let token = keycloak_token(&keycloak, subject, json!({}));
        let response = with_token(&gateway, "/r", &token).await;
        assert_eq!(response.status(), status, "{subject}");
    }
}

/// Away, silent, or with nothing that is a key set: its tokens wait, and no others.
#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_disturbs_no_other() {
    let clock = Clock::system();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endless = || async { Body::from(vec![b' '; 2 * 1024 * 1024]) };
    let garbage = |body: &'static str| {
        serve(Router::new().fallback(get(move || async move { (StatusCode::OK, body) })))
    };
    let issuers = [
        free_address(),
        silent.local_addr().unwrap(),
        serve(Router::new().fallback(get(endless))).await,
        garbage("{\"keys\": 1}").await,
        garbage("{\"keys\": [{\"kty\": \"RSA\", \"n\": \"AQAB\", \"e\": \"AQAB\"}, 7]}").await,
        garbage("<html>").await,
    ];
    for address in issuers {
        let (own, keycloak) = (Issuer::new(clock.clone()), Issuer::new(clock.clone()));
        let text = [
            settings(&own, address, "").await,
            guarded("both", "issuers = [\"jwt\", \"keycloak\"]"),
        ];
        let gateway = Gateway::start(&text.concat()).await;
        let theirs = keycloak_token(&keycloak, "ada", json!({}));
        let slow = with_token(&gateway, "/both", &theirs);
        let fast = async {
            let ours = own.token("usr_1");
            let answer = tokio::time::timeout(
                Duration::from_millis(1500),
                with_token(&gateway, "/both", &ours),
            );
            assert_eq!(answer.await.unwrap().status(), 200, "{address}");
        };
        let (slow, ()) = tokio::join!(slow, fast);
        problem(slow, 503, "unavailable").await;
        let report: Value = gateway.admin("/ready").await.json().await.unwrap();
        let notices = report["notices"]["keys"].to_string();
        assert!(notices.contains("issuer keycloak: "), "{notices}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_discovered_by_the_issuer_s_metadata() {
    let issuer = Issuer::new(Clock::system());
    let jwks = issuer.serve().await;
    for (wrong, expected) in [
        (json!({}), 200),
        (json!({ "issuer": "http://elsewhere.example" }), 503),
        (json!({ "jwks_uri": "file:///etc/passwd" }), 503),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer_url = format!("http://{}/realms/shop", listener.local_addr().unwrap());
        let mut metadata = json!({
            "issuer": issuer_url,
            "jwks_uri": format!("http://{jwks}/.well-known/jwks.json"),
        });
        let wrong: Value = wrong;
        metadata
            .as_object_mut()
            .unwrap()
            .extend(wrong.as_object().unwrap().clone());
        let router = Router::new().route(
            "/realms/shop/.well-known/openid-configuration",
            get(move || async move { axum::Json(metadata) }),
        );
        tokio::spawn(async move { axum::serve(listener, router).await });
        let text = [
            upstream(&[serve(echo()).await]),
            format!(
                "[issuers.shop]\nissuer = \"{issuer_url}\"\naudience = \"\"\ndiscovery = true\n"
            ),
            guarded("shop", "issuers = \"shop\""),
        ];
        let gateway = Gateway::start(&text.concat()).await;
        let token = issuer.token_with("ada", json!({ "iss": issuer_url }));
        assert_eq!(
            with_token(&gateway, "/shop", &token).await.status(),
            expected
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_roles_and_claims_are_required() {
    let clock = Clock::system();
    let (own, keycloak) = (Issuer::new(clock.clone()), Issuer::new(clock));
    let mapping = "roles_claim = [\"realm_access.roles\", \"resource_access.shop.roles\"]";
    let both = "issuers = [\"jwt\", \"keycloak\"]\n";
    let text = [
        settings(&own, keycloak.serve().await, mapping).await,
        guarded(
            "scopes",
            &format!("{both}required_scopes = [\"orders:read\", \"orders:write\"]"),
        ),
        guarded(
            "roles",
            &format!("{both}required_roles = [\"admin\", \"seller\"]"),
        ),
        guarded(
            "claims",
            &format!(
                "{both}required_claims = {{ email_verified = \"true\", \"groups\" = [\"/eu\", \"/us\"], \
                 \"https://x.example/tier\" = \"2\" }}\n[limits.one]\nrequests = 1\nwindow_seconds = 60"
            ),
        ),
        guarded("limited", "required_roles = \"x\"\nlimit = \"one\"").replace("\"x\"", "[\"x\"]"),
    ];
    let gateway = Gateway::start(&text.concat()).await;
    let token = |claims: Value| keycloak_token(&keycloak, "ada", claims);
    let scope = token(json!({ "scope": "openid orders:write orders:read" }));
    let listed = token(json!({ "scope": ["orders:write", "orders:read"] }));
    let roles = token(json!({
        "realm_access": { "roles": ["seller"] },
        "resource_access": { "shop": { "roles": ["admin"] }, "other": { "roles": ["x"] } },
    }));
    let claims = json!({
        "email_verified": true, "groups": ["/de", "/us"], "https://x.example/tier": 2,
    });
    for (path, token) in [
        ("/scopes", scope),
        ("/scopes", listed),
        (
            "/scopes",
            own.token_with("usr_1", json!({ "scope": "orders:read orders:write" })),
        ),
        ("/roles", roles),
        ("/claims", token(claims.clone())),
    ] {
        assert_eq!(
            with_token(&gateway, path, &token).await.status(),
            200,
            "{path}"
        );
    }
    let mut wrong = vec![
        ("/scopes", json!({})),
        ("/scopes", json!({ "scope": "orders:read" })),
        ("/scopes", json!({ "scope": "orders:readorders:write" })),
        ("/roles", json!({ "realm_access": { "roles": ["admin"] } })),
        ("/roles", json!({ "realm_access": ["admin", "seller"] })),
        (
            "/roles",
            json!({ "resource_access": { "other": { "roles": ["admin", "seller"] } } }),
        ),
        ("/claims", json!({})),
    ];
    for (name, value) in [
        ("email_verified", json!(false)),
        ("groups", json!(["/eu/x"])),
        ("groups", json!({ "/eu": "/eu" })),
        ("https://x.example/tier", json!([])),
    ] {
        let mut claims = claims.clone();
        claims[name] = value;
        wrong.push(("/claims", claims));
    }
    for (path, claims) in wrong {
        let response = with_token(&gateway, path, &token(claims.clone())).await;
        let challenge = response.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .to_owned();
        let scope = ", scope=\"orders:read orders:write\"";
        let scope = if path == "/scopes" { scope } else { "" };
        let expected = format!("Bearer error=\"insufficient_scope\"{scope}");
        assert_eq!(challenge, expected, "{path} {claims}");
        problem(response, 403, "insufficient_scope").await;
    }
    // What is refused counts as the user's, not as their address's.
    let ours = [own.token("usr_1"), own.token("usr_2")];
    for token in &ours {
        problem(
            with_token(&gateway, "/limited", token).await,
            403,
            "insufficient_scope",
        )
        .await;
    }
    problem(
        with_token(&gateway, "/limited", &ours[0]).await,
        429,
        "rate_limited",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_get_claims_as_headers_and_clients_cannot_send_them() {
    let clock = Clock::system();
    let (own, keycloak) = (Issuer::new(clock.clone()), Issuer::new(clock));
    let headers = "subject_claim = \"preferred_username\"\nsubject_prefix = \"kc/\"\n\
                   claim_headers = { \"X-User-Email\" = \"email\", \"X-Groups\" = \"groups\" }";
    let text = [
        settings(&own, keycloak.serve().await, headers).await,
        guarded(
            "kc",
            "issuers = \"keycloak\"\n\
             claim_headers = { \"X-Groups\" = \"realm_access.roles\", \"X-Name\" = \"name\" }",
        ),
        guarded("own", ""),
        route("open", "/open", ""),
    ];
    let underscores = [("QUARTET_SERVER_ALLOW_UNDERSCORE_HEADERS", "true")];
    let gateway = Gateway::with_variables(&text.concat(), &underscores).await;
    let token = keycloak_token(
        &keycloak,
        "6f1c",
        json!({
            "preferred_username": "ada", "email": "ada@example.com", "name": "J\u{fc}rgen",
            "groups": ["never"], "realm_access": { "roles": ["a,b", "c"] },
        }),
    );
    let bare = keycloak_token(&keycloak, "6f1c", json!({ "preferred_username": "eve" }));
    let forged = [
        ("x-user-email", "eve@example.com"),
        ("x-groups", "admin"),
        ("X-Name", "eve"),
        ("x_groups", "admin"),
        ("x-user_id", "usr_1"),
    ];
    let names = [
        "x-user-id",
        "x-user-email",
        "x-groups",
        "x_groups",
        "x-user_id",
        "x-name",
    ];
    let ours = own.token("usr_1");
    for (path, token, expected) in [
        (
            "/kc",
            Some(&token),
            [
                "kc/ada",
                "ada@example.com",
                "a%2Cb,c",
                "",
                "",
                "J%C3%BCrgen",
            ],
        ),
        ("/kc", Some(&bare), ["kc/eve", "", "", "", "", ""]),
        ("/own", Some(&ours), ["usr_1", "", "", "", "", ""]),
        ("/open", None, ["", "", "", "", "", ""]),
    ] {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut sent = forged.to_vec();
        if let Some(bearer) = &bearer {
            sent.push(("authorization", bearer));
        }
        for (name, expected) in names.into_iter().zip(expected) {
            let found = echoed(call(&gateway, path, &sent).await, name).await;
            let expected: Vec<&str> = Some(expected)
                .into_iter()
                .filter(|it| !it.is_empty())
                .collect();
            assert_eq!(found, expected, "{path} {name}");
        }
    }
    let unnamed = keycloak_token(&keycloak, "6f1c", json!({ "preferred_username": 7 }));
    problem(
        with_token(&gateway, "/kc", &unnamed).await,
        401,
        "unauthenticated",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_in_the_form_of_hasura_become_headers() {
    let clock = Clock::system();
    let (own, hasura) = (Issuer::new(clock.clone()), Issuer::new(clock));
    let mapping = format!("hasura_claims = '\"{HASURA}\"'");
    let text = [
        settings(&own, hasura.serve().await, &mapping).await,
        guarded(
            "graph",
            "issuers = \"keycloak\"\nrequired_roles = [\"user\"]",
        ),
        route("open", "/open", ""),
    ];
    let gateway = Gateway::start(&text.concat()).await;
    let claims = json!({
        "x-hasura-default-role": "user", "x-hasura-allowed-roles": ["user", "editor"],
        "x-hasura-user-id": "7", "x-hasura-org": "\u{e9}",
    });
    let token = keycloak_token(&hasura, "7", json!({ HASURA: claims }));
    let text = keycloak_token(&hasura, "7", json!({ HASURA: claims.to_string() }));
    for token in [&token, &text] {
        let bearer = format!("Bearer {token}");
        for (asked, role) in [(None, "user"), (Some("editor"), "editor")] {
            let mut sent = vec![
                ("authorization", bearer.as_str()),
                ("x-hasura-user-id", "8"),
                ("x-hasura-admin-secret", "guess"),
            ];
            sent.extend(asked.map(|role| ("x-hasura-role", role)));
            for (name, expected) in [
                ("x-hasura-role", &[role][..]),
                ("x-hasura-user-id", &["7"]),
                ("x-hasura-org", &["%C3%A9"]),
                ("x-hasura-admin-secret", &[]),
                ("x-hasura-allowed-roles", &[]),
            ] {
                let found = echoed(call(&gateway, "/graph", &sent).await, name).await;
                assert_eq!(found, expected, "{name}");
            }
        }
        for roles in [&["admin"][..], &["user", "admin"], &["user", "user"], &[""]] {
            let mut sent = vec![("authorization", bearer.as_str())];
            sent.extend(roles.iter().map(|role| ("x-hasura-role", *role)));
            let refused = call(&gateway, "/graph", &sent).await;
            problem(refused, 403, "insufficient_scope").await;
        }
    }
    let open = call(&gateway, "/open", &[("X-Hasura-Role", "admin")]).await;
    assert_eq!(echoed(open, "x-hasura-role").await, [""; 0]);
    let none = keycloak_token(&hasura, "7", json!({}));
    problem(
        with_token(&gateway, "/graph", &none).await,
        403,
        "insufficient_scope",
    )
    .await;
    let broken = keycloak_token(&hasura, "7", json!({ HASURA: { "x-hasura-user-id": "7" } }));
    problem(
        with_token(&gateway, "/graph", &broken).await,
        401,
        "unauthenticated",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_come_from_a_cookie() {
    let own = Issuer::new(Clock::system());
    let place = |forward: &str| {
        format!("token_from = [\"header\", {{ cookie = \"session\", forward = \"{forward}\" }}]")
    };
    let text = [
        settings(&own, free_address(), "").await,
        guarded("none", &place("none")),
        guarded("cookie", &place("cookie")),
        guarded("header", &format!("{}\nupgrade = true", place("header"))),
    ];
    let gateway = Gateway::start(&text.concat()).await;
    let token = own.token("usr_1");
    let cookie = format!("a=1; session={token}; b=2");
    let bearer = format!("Bearer {token}");
    for (path, left, authorization) in [
        ("/none", "a=1; b=2", &[][..]),
        ("/cookie", cookie.as_str(), &[]),
        ("/header", "a=1; b=2", std::slice::from_ref(&bearer)),
    ] {
        let sent = [("cookie", cookie.as_str())];
        assert_eq!(
            echoed(call(&gateway, path, &sent).await, "cookie").await,
            [left]
        );
        let found = echoed(call(&gateway, path, &sent).await, "authorization").await;
        assert_eq!(found, authorization);
        assert_eq!(
            echoed(call(&gateway, path, &sent).await, "x-user-id").await,
            ["usr_1"]
        );
    }
    let only = format!("session={token}");
    let found = echoed(
        call(&gateway, "/none", &[("cookie", &only)]).await,
        "cookie",
    )
    .await;
    assert_eq!(found, [""; 0]);
    let twice = format!("session={token}; session={token}");
    for sent in [
        vec![("cookie", twice.as_str())],
        vec![("cookie", &only), ("cookie", &only)],
    ] {
        problem(call(&gateway, "/none", &sent).await, 401, "unauthenticated").await;
    }
    let other = format!("Bearer {}", own.token("usr_2"));
    let two = [("cookie", only.as_str()), ("authorization", &other)];
    problem(call(&gateway, "/none", &two).await, 401, "unauthenticated").await;
    // A page of another site cannot use the cookie.
    let post = async |headers: &[(&str, &str)]| {
        let mut request = client().post(gateway.url("/none")).header("cookie", &only);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    };
    let origin = format!("http://{}", gateway.public);
    for headers in [
        [("origin", origin.as_str())],
        [("sec-fetch-site", "same-origin")],
        [("authorization", &bearer)],
    ] {
        assert_eq!(post(&headers).await.status(), 200, "{headers:?}");
    }
    for headers in [
        &[][..],
        &[("origin", "http://evil.example")],
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", origin.as_str()),
        ],
    ] {
        problem(post(headers).await, 403, "cross_site_request").await;
    }
    let handshake = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("cookie", &only),
        ("origin", "http://evil.example"),
    ];
    let refused = call(&gateway, "/header", &handshake).await;
    problem(refused, 403, "origin_not_allowed").await;
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    let issuer = |name: &str, more: &str| {
        format!("[issuers.{name}]\naudience = \"a\"\njwks_url = \"http://a/jwks\"\n{more}\n")
    };
    let route = |more: &str| format!("[routes.r]\npaths = [\"/r\"]\nserve = \"health\"\n{more}\n");
    let secret = "hs256_secret = \"0123456789abcdef0123456789abcdef\"\njwks_url = \"\"";
    let with_secret = |name: &str| {
        issuer(name, &format!("issuer = \"https://{name}\"\n{secret}")).replacen(
            "jwks_url = \"http://a/jwks\"\n",
            "",
            1,
        )
    };
    for (text, expected) in [
        (issuer("a", ""), "issuers.a.issuer"),
        (
            issuer("a", "issuer = \"x\"") + &issuer("b", "issuer = \"x\""),
            "one of them would never be asked",
        ),
        (
            issuer("a", "issuer = \"http://localhost:8080\""),
            "one of them would never be asked",
        ),
        (
            with_secret("a") + &with_secret("b"),
            "each could issue the other's tokens",
        ),
        (
            issuer("a", "issuer = \"x\"\ndiscovery = true"),
            "issuers.a.discovery",
        ),
        (
            issuer("a", "issuer = \"x\"\nalgorithms = [\"HS256\"]"),
            "issuers.a.algorithms",
        ),
        (
            issuer("a", "issuer = \"x\"\nalgorithms = [\"none\"]"),
            "issuers.a.algorithms",
        ),
        (
            issuer("a", "issuer = \"x\"\nroles_claim = \"a..b\""),
            "issuers.a.roles_claim",
        ),
        (
            issuer(
                "a",
                "issuer = \"x\"\nclaim_headers = { \"x-user-id\" = \"a\" }",
            ),
            "sets itself",
        ),
        (
            issuer("a", "issuer = \"x\"\nleeway_seconds = 301"),
            "between 0 and 300",
        ),
        (issuer("jwt", "issuer = \"x\""), "is the name of [jwt]"),
        (
            route("issuers = [\"jwt\", \"b\"]"),
            "there is no issuer `b`",
        ),
        (
            route("auth = \"public\"\nissuers = \"jwt\""),
            "routes.r.issuers",
        ),
        (
            route("auth = \"optional\"\nrequired_scopes = [\"a\"]"),
            "routes.r.required_scopes",
        ),
        (
            route("required_scopes = [\"a b\"]"),
            "routes.r.required_scopes",
        ),
        (
            route("required_claims = { a = [] }"),
            "routes.r.required_claims.a",
        ),
        (route("token_from = []"), "routes.r.token_from"),
        (
            route("token_from = [{ cookie = \"a b\" }]"),
            "routes.r.token_from[0].cookie",
        ),
        (route("token_from = [\"query\"]"), "token_from"),
        (
            "[revocations]\nurl = \"http://core:8081/internal/revocations\"\n".to_owned(),
            "revocations.secret",
        ),
    ] {
        std::fs::write(&file, &text).unwrap();
        let output = command()
            .args(["check", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{text}");
        assert!(errors.contains(expected), "{text}: {errors}");
    }
}
