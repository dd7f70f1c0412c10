//! A browser without a window: keeps cookies, and follows redirects between gateway and provider.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http::Method;
use reqwest::{RequestBuilder, Response};

use super::{Gateway, client};

pub(crate) const HOST: &str = "app.example.org";
/// More would be a loop.
const MAX_REDIRECTS: usize = 6;

/// Someone with a browser.
#[derive(Clone)]
pub(crate) struct Visitor {
    gateway: SocketAddr,
    jar: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Visitor {
    pub(crate) fn new(gateway: &Gateway) -> Self {
        Self {
            gateway: gateway.public,
            jar: Arc::default(),
        }
    }

    /// The same browser at another replica.
    #[allow(dead_code, reason = "one of both binaries has the tests of replicas")]
    pub(crate) fn at(&self, gateway: &Gateway) -> Self {
        Self {
            gateway: gateway.public,
            jar: Arc::clone(&self.jar),
        }
    }

    pub(crate) fn cookies(&self) -> BTreeMap<String, String> {
        self.jar.lock().unwrap().clone()
    }

    pub(crate) fn cookie_header(&self) -> String {
        let jar = self.jar.lock().unwrap();
        let pairs = jar.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn set_cookie(&self, name: &str, value: &str) {
        let mut jar = self.jar.lock().unwrap();
        jar.insert(name.to_owned(), value.to_owned());
    }

    /// A request to the gateway, with the cookies.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = client().request(method, format!("http://{}{path}", self.gateway));
        let request = request.header("host", HOST);
        let cookies = self.cookie_header();
        if cookies.is_empty() {
            request
        } else {
            request.header("cookie", cookies)
        }
    }

    /// As a script of the page does it.
    pub(crate) async fn fetch(&self, method: Method, path: &str) -> Response {
        let request = self.request(method, path).header("sec-fetch-mode", "cors");
        let request = request.header("sec-fetch-site", "same-origin");
        self.keep(request.send().await.unwrap())
    }

    /// Opens a page, without following redirects.
    pub(crate) async fn open(&self, path: &str) -> Response {
        let request = self
            .request(Method::GET, path)
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .header("accept", "text/html,*/*;q=0.8");
        self.keep(request.send().await.unwrap())
    }

    /// Notes the cookies of a response.
    pub(crate) fn keep(&self, response: Response) -> Response {
        let mut jar = self.jar.lock().unwrap();
        for value in response.headers().get_all("set-cookie") {
            let text = value.to_str().unwrap();
            assert!(
                text.contains("; Path=/;") && text.contains("; HttpOnly; SameSite=Lax"),
                "{text}"
            );
            assert!(
                text.starts_with("__Host-") && text.ends_with("; Secure"),
                "{text}"
            );
            let pair = text.split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if text.contains("Max-Age=0;") {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        drop(jar);
        response
    }

    /// Opens a page, and follows redirects to the end. The last response, and where it was.
    pub(crate) async fn follow(&self, path: &str) -> (Response, String) {
        let mut url = path.to_owned();
        for _ in 0..MAX_REDIRECTS {
            let own = url
                .strip_prefix(&format!("https://{HOST}"))
                .map(str::to_owned);
            let response = match own.or_else(|| url.starts_with('/').then(|| url.clone())) {
                Some(path) => self.open(&path).await,
                None => client().get(&url).send().await.unwrap(),
            };
            let Some(location) = response.headers().get("location") else {
                return (response, url);
            };
            location.to_str().unwrap().clone_into(&mut url);
        }
        panic!("too many redirects, at last to {url}");
    }

    /// Opens a page up to the redirect back from the provider, which is not followed: its path.
    pub(crate) async fn to_callback(&self, path: &str) -> String {
        let begun = self.open(path).await;
        assert_eq!(begun.status(), 302);
        let to_provider = begun.headers()["location"].to_str().unwrap().to_owned();
        let back = client().get(to_provider).send().await.unwrap();
        let back = back.headers()["location"].to_str().unwrap().to_owned();
        back.strip_prefix(&format!("https://{HOST}"))
            .unwrap()
            .to_owned()
    }
}
