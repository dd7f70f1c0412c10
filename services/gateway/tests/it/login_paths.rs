//! The paths of oauth2-proxy, providers that need care, and what the configuration refuses.

use http::Method;
use serde_json::{Value, json};

use crate::support::{
    CLIENT, CLIENT_SECRET, Gateway, Provider, Visitor, command, echo, problem, route, serve,
    upstream,
};

#[tokio::test(flavor = "multi_thread")]
async fn configurations_for_oauth2_proxy_work_as_they_are() {
    let provider = Provider::start().await;
    let settings = [
        upstream(&[serve(echo()).await]),
        provider.settings("oauth2_proxy_paths = true\naccess_token_header = \"X-Token\""),
        route("app", "/app/*", "login = \"main\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let visitor = Visitor::new(&gateway);
    problem(
        visitor.fetch(Method::GET, "/oauth2/auth").await,
        401,
        "login_required",
    )
    .await;
    problem(
        visitor.fetch(Method::GET, "/oauth2/userinfo").await,
        401,
        "login_required",
    )
    .await;
    // As nginx does it: error_page 401 = /oauth2/sign_in, with rd or the header.
    let (page, at) = visitor.follow("/oauth2/start?rd=%2Fapp%2Fx").await;
    assert_eq!((page.status().as_u16(), at.as_str()), (200, "/app/x"));
    let asked = visitor.fetch(Method::GET, "/oauth2/auth").await;
    assert_eq!(asked.status(), 202);
    for (name, expected) in [
        ("x-auth-request-user", "user-1"),
        ("x-auth-request-email", "ada@example.org"),
        ("x-auth-request-groups", "dev,ops"),
        ("x-auth-request-preferred-username", "ada"),
    ] {
        assert_eq!(asked.headers()[name], expected);
    }
    assert!(
        asked.headers()["x-auth-request-access-token"]
            .to_str()
            .unwrap()
            .starts_with("access-")
    );
    for (query, status) in [
        ("allowed_groups=dev", 202),
        ("allowed_groups=admins,ops", 202),
        ("allowed_groups=admins", 403),
        ("allowed_emails=ADA@example.org", 202),
        ("allowed_emails=bob@example.org", 403),
        ("allowed_email_domains=example.org", 202),
        ("allowed_email_domains=*.example.org", 403),
        ("allowed_groups=dev&allowed_email_domains=example.net", 403),
        ("allowed_groups=", 202),
        ("other=x", 202),
    ] {
        let asked = visitor
            .fetch(Method::GET, &format!("/oauth2/auth?{query}"))
            .await;
        assert_eq!(asked.status(), status, "{query}");
    }
    let user: Value = visitor
        .fetch(Method::GET, "/oauth2/userinfo")
        .await
        .json()
        .await
        .unwrap();
    let expected = json!({
        "user": "user-1", "email": "ada@example.org", "groups": ["dev", "ops"], "preferredUsername": "ada",
    });
    assert_eq!(user, expected);
    let begun = Visitor::new(&gateway).request(Method::GET, "/oauth2/sign_in");
    let begun = begun
        .header("x-auth-request-redirect", "/app/deep")
        .send()
        .await
        .unwrap();
    let location = begun.headers()["location"].to_str().unwrap();
    assert!(
        location.contains("redirect_uri=https%3A%2F%2Fapp.example.org%2Foauth2%2Fcallback&"),
        "{location}"
    );
    let out = visitor.open("/oauth2/sign_out?rd=%2Fapp%2F").await;
    assert!(
        out.headers()["location"]
            .to_str()
            .unwrap()
            .contains("/end_session?")
    );
    assert_eq!(
        visitor.fetch(Method::GET, "/oauth2/auth").await.status(),
        401
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn github_says_by_its_api_who_the_user_is() {
    let provider = Provider::start().await;
    let url = provider.url();
    let settings = [
        upstream(&[serve(echo()).await]),
        format!(
            "[logins.main]\nkind = \"github\"\nbase_url = \"https://app.example.org\"\n\
             issuer = \"{url}\"\napi_url = \"{url}\"\nclient_id = \"{CLIENT}\"\n\
             client_secret = \"{CLIENT_SECRET}\"\nallowed_groups = [\"quartet\"]\n"
        ),
        route("app", "/app/*", "login = \"main\""),
    ];
    let gateway = Gateway::start(&settings.concat()).await;
    let visitor = Visitor::new(&gateway);
    let begun = visitor.open("/app/").await;
    let location = begun.headers()["location"].to_str().unwrap();
    assert!(
        location.starts_with(&format!("{url}/login/oauth/authorize?")),
        "{location}"
    );
    assert!(!location.contains("nonce="), "{location}");
    provider.lie(crate::support::Lies {
        iss: Some(""),
        without_id_token: true,
        ..Default::default()
    });
    let (page, _) = visitor.follow("/app/").await;
    let seen = page.text().await.unwrap();
    for expected in [
        "[\"x-user\",\"7\"]",
        "[\"x-email\",\"ada@example.org\"]",
        "[\"x-groups\",\"quartet\"]",
    ] {
        assert!(seen.contains(expected), "{expected}: {seen}");
    }
    let out = visitor.open("/auth/logout").await;
    assert_eq!(out.headers()["location"], "/auth/logged_out");
}

/// What `check` says of a login with these lines.
fn refused(lines: &str, more: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    let base =
        "base_url = \"https://a.example\"\nissuer = \"https://p.example\"\nclient_id = \"c\"\n";
    // The last one of a key counts: TOML refuses a key that is there twice.
    let mut settings: Vec<&str> = base.lines().collect();
    for line in lines.lines() {
        let key = line.split(' ').next().unwrap();
        settings.retain(|known| known.split(' ').next() != Some(key));
        if !line.ends_with("= -") {
            settings.push(line);
        }
    }
    let text = format!(
        "shipped_routes = false\n[upstreams.u]\naddresses = [\"127.0.0.1:9\"]\n\
         [logins.main]\n{}\n{more}\n",
        settings.join("\n")
    );
    std::fs::write(&file, text).unwrap();
    let output = command()
        .args(["check", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    if output.status.success() {
        return String::new();
    }
    String::from_utf8(output.stderr).unwrap()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_login_that_cannot_work_or_is_not_safe_is_refused() {
    let core = "kind = \"core\"\nissuer = -\nclient_id = -\n";
    let refresh = format!("{core}refresh_url = \"http://core/r\"\n");
    let jwt = "[jwt]\njwks_url = \"http://127.0.0.1:9/jwks\"\n";
    for (lines, more, says) in [
        ("", "", ""),
        ("scopes = [\"openid\"]", "", ""),
        ("base_url = \"http://a.example\"", "", "must be https://"),
        (
            "base_url = \"http://a.example\"\ninsecure = true",
            "",
            "must be https://",
        ),
        (
            "base_url = \"http://localhost:8080\"\ninsecure = true",
            "",
            "",
        ),
        (
            "base_url = \"http://127.0.0.1:8080\"\ninsecure = true",
            "",
            "",
        ),
        (
            "base_url = \"https://a.example/x\"",
            "",
            "must be an origin",
        ),
        (
            "base_url = \"https://u:p@a.example\"",
            "",
            "must be an origin",
        ),
        ("path = \"auth\"", "", "must be a path such as /auth"),
        ("path = \"/auth/\"", "", "must be a path such as /auth"),
        ("path = \"/a?b\"", "", "must be a path such as /auth"),
        ("issuer = -", "", "logins.main.issuer"),
        ("client_id = -", "", "logins.main.client_id"),
        ("issuer = \"ftp://p\"", "", "must be an https URL"),
        ("kind = \"keycloak\"", "", "with its realm"),
        (
            "kind = \"keycloak\"\nrealm = \"a/b\"",
            "",
            "realm of letters",
        ),
        ("kind = \"keycloak\"\nrealm = \"staff\"", "", ""),
        (
            "kind = \"google\"\nissuer = -",
            "",
            "logins.main.client_secret",
        ),
        (
            "allowed_hosted_domains = [\"a\"]",
            "",
            "only for kind = \"google\"",
        ),
        ("scopes = [\"email\"]", "", "`openid` among them"),
        ("cookie = \"session\"", "", "must begin with __Host-"),
        ("cookie = \"__host-session\"", "", "must begin with __Host-"),
        (
            "base_url = \"http://localhost\"\ninsecure = true\ncookie = \"__Host-s\"",
            "",
            "must not begin with",
        ),
        ("cookie = \"__Host-a b\"", "", "name of a cookie"),
        (
            "headers = { user = \"X-User-Id\" }",
            "",
            "header that the gateway sets itself",
        ),
        ("headers = { user = \"X-A\", email = \"x-a\" }", "", "twice"),
        (
            "access_token_header = \"Cookie\"",
            "",
            "header that the gateway sets itself",
        ),
        (
            "authorize_parameters = { state = \"x\" }",
            "",
            "sets itself",
        ),
        ("idle_seconds = 1", "", "between 60 and 31536000"),
        ("store = \"redis\"", "", "needs [rate_limit_store]"),
        (
            "store = \"redis\"\nencryption_key = \"short\"",
            "[rate_limit_store]\nurl = \"redis://127.0.0.1:9\"",
            "64 hexadecimal digits",
        ),
        (
            "allowed_targets = [\"https://b.example\"]",
            "",
            "must be hosts",
        ),
        ("allowed_emails = [\"a\"]", "", "with an @"),
        ("allowed_domains = [\"a@b\"]", "", "domains such as"),
        ("tls_ca = \"x\"", "", "tls_ca"),
        ("login_page = \"/x\"", "", "only for kind = \"core\""),
        (core, jwt, "logins.main.refresh_url"),
        (&refresh, jwt, ""),
        (
            &format!("{refresh}login_page = \"//evil.example\""),
            jwt,
            "path of the same host",
        ),
        (
            &format!("{refresh}client_id = \"c\""),
            jwt,
            "not for kind = \"core\"",
        ),
        (
            "",
            "[logins.other]\nbase_url = \"https://a.example\"\nissuer = \"https://q\"\nclient_id = \"c\"",
            "must not be that of `main`",
        ),
        (
            "",
            "[routes.r]\npaths = [\"/r\"]\nupstream = \"u\"\nauth = \"public\"\nlogin = \"oher\"",
            "there is no login `oher` among main",
        ),
        (
            "",
            "[routes.r]\npaths = [\"/r\"]\nserve = \"health\"\nauth = \"public\"\nlogin = \"main\"",
            "not possible with `serve`",
        ),
        (
            "",
            "[jwt]\njwks_url = \"http://127.0.0.1:9/jwks\"\n[routes.r]\npaths = [\"/r\"]\nupstream = \"u\"\nlogin = \"main\"\nrequired_scopes = [\"a\"]",
            "would not be asked of sessions",
        ),
        (
            "verify_access_token = true",
            "[jwt]\njwks_url = \"http://127.0.0.1:9/jwks\"\n[routes.r]\npaths = [\"/r\"]\nupstream = \"u\"\nlogin = \"main\"\nrequired_scopes = [\"a\"]",
            "",
        ),
        (
            &refresh,
            "[jwt]\njwks_url = \"http://127.0.0.1:9/jwks\"\n[routes.r]\npaths = [\"/r\"]\nupstream = \"u\"\nauth = \"public\"\nlogin = \"main\"",
            "must not be \"public\"",
        ),
    ] {
        let found = refused(lines, more);
        assert!(found.contains(says), "{lines}\n{more}\n{found}");
        assert_eq!(
            found.is_empty(),
            says.is_empty(),
            "{lines}\n{more}\n{found}"
        );
    }
}
