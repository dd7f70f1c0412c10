use quartet_auth::jwt::JwtVerifier;
use quartet_testing::{Issuer, assert_complete, contract::Contract};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ADA, JWKS, ME, REFRESH, Tokens, USERS, World, header, json_of, problem_of};

#[tokio::test]
async fn others_can_verify_our_tokens() {
    let world = World::start().await;
    let user = world.sign_up(ADA).await;
    let tokens = world.log_in(ADA).await;
    let settings = Issuer::new(world.clock.clone()).settings(world.address);
    let verifier = JwtVerifier::new(&settings, world.clock.clone()).unwrap();
    let claims = verifier.verify(tokens.access()).await.unwrap();
    assert_eq!(user["id"], claims.sub);
    assert_eq!(claims.sid.as_deref(), Some(tokens.session()));
    assert_eq!(claims.iss.as_deref(), Some("http://localhost:8080"));
    let now = world.clock.now().timestamp();
    assert_eq!(
        (claims.iat, claims.nbf, claims.exp),
        (Some(now), Some(now), now + 900)
    );
    assert_eq!(claims.other["aud"], "quartet");
    assert!(claims.other["jti"].is_string() && claims.other["client_id"].is_string());
    assert!(claims.email.is_none(), "no address of a person");
    let (head, _) = tokens.parts();
    assert_eq!(head["alg"], "EdDSA");
    assert_eq!(head["typ"], "at+jwt");
    assert_eq!(world.key_ids().await, [tokens.key_id()]);
    world.advance(901);
    assert!(verifier.verify(tokens.access()).await.is_err());
}

#[tokio::test]
async fn what_is_published_is_public_only() {
    let world = World::start().await;
    let get = |path: &'static str| world.request(Method::GET, path);
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
}

#[tokio::test]
async fn an_access_token_ends_with_its_time_and_with_its_session() {
    let world = World::start_with(|config| config.sessions.absolute_ttl_seconds = 1000).await;
    let first = world.join(ADA).await;
    world.advance(600);
    let second = world.refresh(&first).await;
    assert_eq!(second.0["expires_in"], 400, "the session's end");
    let exp = |tokens: &Tokens| tokens.parts().1["exp"].as_i64().unwrap();
    assert_eq!(exp(&second), exp(&first) + 100);
    world.advance(400);
    problem_of(world.get(ME, second.access()).await, 401, "unauthenticated").await;
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let world = World::start().await;
    let tokens = world.join(ADA).await;
    world.advance(904);
    assert_eq!(
        world.get(ME, tokens.access()).await.status(),
        200,
        "five seconds of leeway"
    );
    world.advance(2);
    problem_of(world.get(ME, tokens.access()).await, 401, "unauthenticated").await;
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let world = World::start().await;
    let tokens = world.join(ADA).await;
    let (head, claims, signature) = {
        let mut parts = tokens.access().split('.').map(str::to_owned);
        let mut next = || parts.next().unwrap();
        (next(), next(), next())
    };
    let subject = tokens.parts().1["sub"].as_str().unwrap().to_owned();
    let issuer = Issuer::new(world.clock.clone());
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
        let response = world.get(ME, &token).await;
        assert!(header(&response, "www-authenticate").starts_with("Bearer"));
        problem_of(response, 401, "unauthenticated").await;
    }
    let with =
        |name: &'static str, value: String| world.request(Method::GET, ME).header(name, value);
    for request in [
        world.request(Method::GET, ME),
        with("x-user-id", subject.clone()),
        with("authorization", format!("Basic {}", tokens.access())),
        with("authorization", tokens.access().to_owned()),
        with("authorization", format!("Bearer {}", tokens.access()))
            .header("authorization", "Bearer x"),
    ] {
        assert_eq!(request.send().await.unwrap().status(), 401);
    }
}

/// The committed document says which operations need a token.
#[tokio::test]
async fn every_operation_that_needs_a_token_asks_for_it() {
    let world = World::start().await;
    let document: Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let open = operation["security"] == json!([]);
            let method: Method = method.to_uppercase().parse().unwrap();
            let request = world.request(method, &path.replace("{id}", "current"));
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
    assert_eq!(asked, 5);
}

#[test]
fn the_document_is_whole() {
    let document = include_str!("../../openapi.json");
    assert_complete(&Contract::new(document));
}

#[tokio::test]
async fn the_committed_document_is_the_served_one() {
    use quartet_service::Service;
    let world = World::start().await;
    let request = world.request(Method::GET, "/v1/core/openapi.json");
    let served = request.send().await.unwrap().text().await.unwrap();
    assert_eq!(served, quartet_core::Core::openapi());
    assert_eq!(served, include_str!("../../openapi.json"));
}
