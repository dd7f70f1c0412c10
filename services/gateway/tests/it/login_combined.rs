//! Logins of routes to sites, and of those that an external service decides about.

use std::sync::{Arc, Mutex};

use axum::Router;
use http::{HeaderMap, Method};

use crate::support::{
    Gateway, Provider, Visitor, echo, route, serve,
    sites::{Files, site_route},
    upstream,
};

async fn gateway(provider: &Provider, more: &str) -> Gateway {
    let settings = [
        upstream(&[serve(echo()).await]),
        provider.settings(""),
        route("app", "/app/*", "login = \"main\""),
        more.to_owned(),
    ];
    Gateway::start(&settings.concat()).await
}

async fn logged_in(gateway: &Gateway) -> Visitor {
    let visitor = Visitor::new(gateway);
    assert_eq!(visitor.follow("/app/start").await.0.status(), 200);
    visitor
}

#[tokio::test(flavor = "multi_thread")]
async fn files_behind_a_login_are_not_for_shared_caches() {
    let provider = Provider::start().await;
    let files = Files::new(&[("app.3f2a9c1b.js", "x")]);
    let more = [
        files.site("pages", ""),
        site_route("pages", "/pages/*", "login = \"main\""),
    ];
    let gateway = gateway(&provider, &more.concat()).await;
    let visitor = logged_in(&gateway).await;
    let file = visitor.fetch(Method::GET, "/pages/app.3f2a9c1b.js").await;
    assert_eq!(file.status(), 200);
    let caching = file.headers()["cache-control"].to_str().unwrap();
    assert!(
        caching.contains("private") && !caching.contains("public"),
        "{caching}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_decides_gets_no_cookie_of_a_login() {
    let provider = Provider::start().await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    let decides = Router::new().fallback(async move |headers: HeaderMap| {
        let cookies = headers
            .get("cookie")
            .map(|it| it.to_str().unwrap().to_owned());
        kept.lock().unwrap().push(cookies.unwrap_or_default());
    });
    let address = serve(decides).await;
    let rules = format!("login = \"main\"\nforward_auth = {{ url = \"http://{address}/\" }}");
    let gateway = gateway(&provider, &route("decided", "/decided", &rules)).await;
    let visitor = logged_in(&gateway).await;
    let own = format!(
        "__Host-quartet_main={}",
        visitor.cookies()["__Host-quartet_main"]
    );
    let request = Visitor::new(&gateway).request(Method::GET, "/decided");
    let request = request.header("cookie", format!("theme=dark; {own}"));
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(*asked.lock().unwrap(), ["theme=dark"]);
}
