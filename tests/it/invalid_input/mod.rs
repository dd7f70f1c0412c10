//! Invalid input of every kind: the error names the field, it is never a 500, nothing is written.

mod graphql;
mod tables;

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Stack, User, files};

/// An invalid request, and the expected error.
struct Case {
    method: Method,
    path: String,
    body: Option<String>,
    kind: &'static str,
    status: u16,
    code: &'static str,
    /// The field or parameter that the error names.
    names: &'static str,
}

const JSON: &str = "application/json";

fn post(path: &str, body: &Value, names: &'static str) -> Case {
    text(path, &body.to_string(), 422, "invalid_body", names)
}

fn text(path: &str, body: &str, status: u16, code: &'static str, names: &'static str) -> Case {
    let body = Some(body.to_owned());
    Case {
        method: Method::POST,
        path: path.to_owned(),
        body,
        kind: JSON,
        status,
        code,
        names,
    }
}

fn get(path: &str, names: &'static str) -> Case {
    let (method, code) = (Method::GET, "invalid_parameter");
    Case {
        method,
        path: path.to_owned(),
        body: None,
        kind: JSON,
        status: 400,
        code,
        names,
    }
}

impl Case {
    fn by(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// What is wrong with the response, if anything.
    async fn check(&self, client: &Client) -> Option<String> {
        let mut call = client.call(self.method.clone(), &self.path);
        if let Some(body) = &self.body {
            call = call.header("content-type", self.kind).body(body.clone());
        }
        let answer = call.send().await;
        let body = self.body.as_deref().unwrap_or_default();
        let shown: String = body.chars().take(200).collect();
        let (path, text) = (&self.path, answer.text());
        let fits = answer.status == self.status
            && answer.json()["code"] == self.code
            && (self.names.is_empty() || self.is_named(&answer.json()));
        let expected = format!("{} {} naming `{}`", self.status, self.code, self.names);
        (!fits).then(|| format!("{} {path} {shown}: not {expected}: {text}", self.method))
    }

    /// Whether an entry of `errors` has the field, a code and a detail.
    fn is_named(&self, problem: &Value) -> bool {
        let contains = |error: &Value, member: &str, text: &str| {
            let value = error[member].as_str().unwrap_or_default();
            !value.is_empty() && value.contains(text)
        };
        problem["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|error| {
                let places = ["pointer", "parameter", "detail"];
                contains(error, "code", "")
                    && contains(error, "detail", "")
                    && places
                        .iter()
                        .any(|place| contains(error, place, self.names))
            })
    }
}

/// Bodies that are not JSON objects, for any POST.
fn invalid_bodies(path: &str) -> Vec<Case> {
    let syntax = ["", "{", "nul", "{,}", "\u{0}", "{'a': 1}", "{}{}"];
    let deep = "[".repeat(50_000);
    let kinds = ["[]", "null", "7", "\"text\"", "true", &deep];
    let types = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
    ];
    let mut cases = Vec::new();
    cases.extend(syntax.map(|body| text(path, body, 400, "malformed_json", "")));
    cases.extend(kinds.map(|body| text(path, body, 422, "invalid_body", "")));
    cases.extend(types.map(|kind| Case {
        kind,
        ..text(path, "{}", 415, "unsupported_media_type", "")
    }));
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_rest_requests_name_the_field_and_write_nothing() {
    let stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    let before = stack.database().row_counts();
    let mut faults = Vec::new();
    for case in tables::core().iter().chain(&tables::media()) {
        faults.extend(case.check(&ada.client).await);
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(stack.database().row_counts(), before);
    let me = ada.client.get("/v1/core/users/me").await.json_of(200);
    assert_eq!(me["email"], json!(ada.email));
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_headers_and_methods_are_refused() {
    let stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    let gateway = stack.client();
    for authorization in [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "bearer a b",
        "Token x",
        "Bearer ..",
        "Bearer \u{e4}",
    ] {
        let call = gateway.call(Method::GET, "/v1/core/users/me");
        call.header("authorization", authorization)
            .send()
            .await
            .problem(401, "unauthenticated");
    }
    let twice = ada.client.call(Method::GET, "/v1/core/users/me");
    let twice = twice.header("authorization", "Bearer second").send().await;
    assert_eq!(twice.status, 401, "{twice:?}");
    for key in ["", &"k".repeat(300), "a\tb"] {
        let call = ada.client.call(Method::POST, "/v1/media/presign");
        let call = call
            .header("idempotency-key", key)
            .json(&files::presign_body("public"));
        let answer = call.send().await;
        assert_eq!(answer.status, 400, "{key:?}: {answer:?}");
        assert_eq!(answer.json()["errors"][0]["parameter"], "idempotency-key");
    }
    for (method, path) in [
        (Method::PUT, "/v1/core/users"),
        (Method::POST, "/v1/media/assets"),
        (Method::PATCH, "/v1/core/sessions"),
        (Method::POST, "/health"),
        (Method::DELETE, "/s/abc"),
    ] {
        let answer = ada.client.call(method.clone(), path).send().await;
        let refused = answer.status == 405 && answer.header("allow").is_some();
        assert!(
            refused || answer.status == 404,
            "{method} {path}: {answer:?}"
        );
    }
    ada.client.get("/v1/core/nothing").await.expect(404);
    ada.client.get("/nothing").await.problem(404, "no_route");
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_differ_from_the_presigned_file_are_refused() {
    let stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    let complete = |id: String| {
        let client = ada.client.clone();
        async move {
            client
                .post(&format!("/v1/media/assets/{id}/complete"), &json!({}))
                .await
        }
    };
    let early = files::presign(&ada.client, "private").await;
    let id = early["asset"]["id"].as_str().unwrap().to_owned();
    let refused = complete(id.clone()).await;
    assert!((400..500).contains(&refused.status), "{refused:?}");
    let download = ada
        .client
        .get(&format!("/v1/media/assets/{id}/download"))
        .await;
    assert_eq!(download.status, 409, "{download:?}");

    let short = &files::PNG[..files::PNG.len() - 1];
    assert!(
        files::put(&early["upload"], short).await >= 400,
        "not the signed size"
    );
    let mut disguised = files::PNG.to_vec();
    disguised[..4].copy_from_slice(b"<scr");
    assert!(
        files::put(&early["upload"], &disguised).await < 300,
        "the store cannot detect it"
    );
    let refused = complete(id.clone()).await;
    assert!((400..500).contains(&refused.status), "{refused:?}");
    let asset = ada.client.get(&format!("/v1/media/assets/{id}")).await;
    assert!(
        asset.status == 404 || asset.json()["status"] != "ready",
        "{asset:?}"
    );
}
