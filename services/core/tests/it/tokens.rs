use quartet_auth::jwt::JwtVerifier;
use quartet_testing::{Issuer, assert_complete, contract::Contract};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ADA, JWKS, ME, REFRESH, TestApp, Tokens, USERS, header, json_of, problem_of};

#[tokio::test]
async fn other_services_can_verify_access_tokens() {
    let app = TestApp::start().await;
    let user = app.sign_up(ADA).await;
    let tokens = app.log_in(ADA).await;
    let settings = Issuer::new(app.clock.clone()).settings(app.address);
    let verifier = JwtVerifier::new(&settings, app.clock.clone()).unwrap();
    let claims = verifier.verify(tokens.access()).await.unwrap();
    assert_eq!(user["id"], claims.sub);
    assert_eq!(claims.sid.as_deref(), Some(tokens.session()));
    assert_eq!(claims.iss.as_deref(), Some("http://localhost:8080"));
    let now = app.clock.now().timestamp();
    assert_eq!(
        (claims.iat, claims.nbf, claims.exp),
        (Some(now), Some(now), now + 900)
    );
    assert!(claims.email.is_none(), "no email in the token");
    assert_eq!(claims.client_id.as_deref(), Some("quartet"));
    let (head, body) = tokens.parts();
    assert_eq!(body["aud"], "quartet");
    assert!(body["jti"].is_string());
    assert_eq!(head["alg"], "EdDSA");
    assert_eq!(head["typ"], "at+jwt");
    assert_eq!(app.key_ids().await, [tokens.key_id()]);
    app.advance(901);
    assert!(verifier.verify(tokens.access()).await.is_err());
}

#[tokio::test]
async fn the_jwks_contains_public_keys_only() {
    let app = TestApp::start().await;
    let get = |path: &'static str| app.request(Method::GET, path);
    let response = get(JWKS).send().await.unwrap();
    assert_eq!(header(&response, "cache-control"), "public, max-age=300");
    let tag = header(&response, "etag").to_owned();
    let keys = json_of(response, 200).await;
    let key = keys["keys"][0].as_object().unwrap();
    let names: Vec<&str> = key.keys().map(String::as_str).collect();
    for name in names {
        let public = ["alg", "crv", "kid", "kty", "use", "x"].contains(&name);
        assert!(public, "{name}");
    }
    assert_eq!(key["crv"], "Ed25519");
    let known = get(JWKS).header("if-none-match", tag).send().await.unwrap();
    assert_eq!(known.status(), 304);
    let about = get("/.well-known/openid-configuration").send().await;
    let about = json_of(about.unwrap(), 200).await;
    assert_eq!(
        about["jwks_uri"],
        "http://localhost:8080/.well-known/jwks.json"
    );
    assert_eq!(about["grant_types_supported"], json!([]));
    assert_eq!(about["acr_values_supported"], json!(["aal1"]));
}

#[tokio::test]
async fn an_access_token_does_not_outlive_its_session() {
    let app = TestApp::start_with(|config| config.sessions.absolute_ttl_seconds = 1000).await;
    let first = app.join(ADA).await;
    app.advance(600);
    let second = app.refresh(&first).await;
    assert_eq!(second.0["expires_in"], 400, "limited by the session");
    let exp = |tokens: &Tokens| tokens.parts().1["exp"].as_i64().unwrap();
    assert_eq!(exp(&second), exp(&first) + 100);
    app.advance(400);
    problem_of(app.get(ME, second.access()).await, 401, "unauthenticated").await;
}

#[tokio::test]
async fn an_expired_token_is_rejected() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    app.advance(904);
    assert_eq!(
        app.get(ME, tokens.access()).await.status(),
        200,
        "five seconds of leeway"
    );
    app.advance(2);
    problem_of(app.get(ME, tokens.access()).await, 401, "unauthenticated").await;
}

#[tokio::test]
async fn forged_tokens_are_rejected() {
    let app = TestApp::start().await;
    let tokens = app.join(ADA).await;
    let (head, claims, signature) = {
        let mut parts = tokens.access().split('.').map(str::to_owned);
        let mut next = || parts.next().unwrap();
        (next(), next(), next())
    };
    let subject = tokens.parts().1["sub"].as_str().unwrap().to_owned();
    let issuer = Issuer::new(app.clock.clone());
    let encode = |value: Value| {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        URL_SAFE_NO_PAD.encode(value.to_string())
    };
    let kid = tokens.key_id();
    let none = encode(json!({"alg": "none", "typ": "at+jwt", "kid": kid}));
    let hmac = encode(json!({"alg": "HS256", "typ": "at+jwt", "kid": kid}));
    let plain = encode(json!({"alg": "EdDSA", "typ": "JWT", "kid": kid}));
    let forged = [
        String::new(),
        "x".into(),
        "a.b.c".into(),
        "x".repeat(20_000),
        issuer.token(&subject),
        format!("{none}.{claims}."),
        format!("{hmac}.{claims}.{signature}"),
        format!("{plain}.{claims}.{signature}"),
        format!(
            "{head}.{}.{signature}",
            encode(json!({"sub": subject, "exp": 9_999_999_999_i64}))
        ),
        format!("{head}.{claims}."),
        tokens.refresh().to_owned(),
    ];
    for token in forged {
        let response = app.get(ME, &token).await;
        assert!(header(&response, "www-authenticate").starts_with("Bearer"));
        problem_of(response, 401, "unauthenticated").await;
    }
    let with = |name: &'static str, value: String| app.request(Method::GET, ME).header(name, value);
    for request in [
        app.request(Method::GET, ME),
        with("x-user-id", subject.clone()),
        with("authorization", format!("Basic {}", tokens.access())),
        with("authorization", tokens.access().to_owned()),
        with("authorization", format!("Bearer {}", tokens.access()))
            .header("authorization", "Bearer x"),
    ] {
        assert_eq!(request.send().await.unwrap().status(), 401);
    }
}

/// The committed document says which operations require a token.
#[tokio::test]
async fn every_protected_operation_requires_a_token() {
    let app = TestApp::start().await;
    let document: Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let open = operation["security"] == json!([]);
            let method: Method = method.to_uppercase().parse().unwrap();
            let request = app.request(method, &path.replace("{id}", "current"));
            let response = request.json(&json!({})).send().await.unwrap();
            let is_open = path == USERS || path == REFRESH || path.starts_with("/.well-known");
            if open {
                assert_ne!(response.status(), 401, "{path}");
            } else {
                assert!(!is_open, "{path}");
                assert_eq!(response.status(), 401, "{path}");
                asked += 1;
            }
        }
    }
    assert_eq!(asked, 8);
}

#[test]
fn the_document_is_complete() {
    let document = include_str!("../../openapi.json");
    assert_complete(&Contract::new(document));
}

#[tokio::test]
async fn the_committed_document_is_served_also_in_3_0() {
    let app = TestApp::start().await;
    let get = async |path| {
        let response = app.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/json");
        response.text().await.unwrap()
    };
    let served = get("/v1/core/openapi.json").await;
    assert_eq!(served, include_str!("../../openapi.json"));
    let served = get("/v1/core/openapi-3.0.json").await;
    let document: Value = serde_json::from_str(&served).unwrap();
    assert_eq!(document["openapi"], "3.0.3");
    assert!(document["paths"].get("/v1/core/users").is_some());
}

/// RFC 9068, 2.2.1: how the user was authenticated does not change with a new token.
#[tokio::test]
async fn a_token_says_when_and_how_the_user_logged_in_also_after_refreshes() {
    let app = TestApp::start().await;
    let login = app.clock.now().timestamp();
    let mut tokens = app.join(ADA).await;
    for _ in 0..3 {
        let claims = tokens.parts().1;
        assert_eq!(claims["auth_time"], login);
        assert_eq!(claims["amr"], json!(["pwd"]));
        assert_eq!(claims["acr"], "aal1");
        assert_eq!(claims["iat"], app.clock.now().timestamp());
        app.advance(400);
        tokens = app.refresh(&tokens).await;
    }
    // The lost response of a refresh, within the grace period.
    let again = Tokens(json_of(app.try_refresh(tokens.refresh()).await, 200).await);
    assert_eq!(again.parts().1["auth_time"], login);
    // A second login is another one.
    assert_eq!(app.log_in(ADA).await.parts().1["auth_time"], login + 1200);
}
