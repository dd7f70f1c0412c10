//! Wrong input of every kind: named, never a 500, nothing half written.

mod graphql;
mod tables;

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Stack, User, files};

/// One wrong request, and how it has to be refused.
struct Case {
    method: Method,
    path: String,
    body: Option<String>,
    kind: &'static str,
    status: u16,
    code: &'static str,
    /// A field or parameter that the answer names.
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

    /// What is wrong with the answer, if anything is.
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
        let wanted = format!("{} {} naming `{}`", self.status, self.code, self.names);
        (!fits).then(|| format!("{} {path} {shown}: not {wanted}: {text}", self.method))
    }

    /// Whether an entry of `errors` names the field and says which rule it breaks.
    fn is_named(&self, problem: &Value) -> bool {
        let says = |error: &Value, member: &str, text: &str| {
            let value = error[member].as_str().unwrap_or_default();
            !value.is_empty() && value.contains(text)
        };
        problem["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|error| {
                let places = ["pointer", "parameter", "detail"];
                says(error, "code", "")
                    && says(error, "detail", "")
                    && places.iter().any(|place| says(error, place, self.names))
            })
    }
}

/// Bodies that are no JSON objects, for any POST.
fn no_bodies(path: &str) -> Vec<Case> {
    let syntax = ["", "{", "nul", "{,}", "\u{0}", "{'a': 1}"];
    let deep = "[".repeat(50_000);
    let kinds = ["[]", "null", "7", "\"text\"", "true", "{}{}", &deep];
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
async fn wrong_rest_requests_name_the_field_and_write_nothing() {
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
async fn wrong_headers_and_methods_are_refused() {
    let stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    let door = stack.client();
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
        let call = door.call(Method::GET, "/v1/core/users/me");
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
async fn uploads_that_are_not_what_was_promised_are_refused() {
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
        "another size than signed"
    );
    let mut disguised = files::PNG.to_vec();
    disguised[..4].copy_from_slice(b"<scr");
    assert!(
        files::put(&early["upload"], &disguised).await < 300,
        "the store sees no difference"
    );
    let refused = complete(id.clone()).await;
    assert!((400..500).contains(&refused.status), "{refused:?}");
    let asset = ada.client.get(&format!("/v1/media/assets/{id}")).await;
    assert!(
        asset.status == 404 || asset.json()["status"] != "ready",
        "{asset:?}"
    );
}
