//! A user who has signed up and logged in.

use serde_json::{Value, json};

use super::client::Client;

/// A user with a session; `client` has the access token.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) client: Client,
    pub(crate) email: String,
    pub(crate) password: String,
    /// `usr_...`
    pub(crate) id: String,
    pub(crate) refresh_token: String,
}

impl User {
    /// Signs up with a new email and logs in.
    pub(crate) async fn sign_up(gateway: &Client) -> Self {
        let unique = rand::random::<u64>();
        let email = format!("person-{unique:016x}@example.org");
        let password = format!("correct horse {unique:016x} staple");
        gateway.secrets().add(&password);
        let body = json!({ "email": email, "password": password });
        let user = gateway
            .anonymous()
            .post("/v1/core/users", &body)
            .await
            .json_of(201);
        let id = text(&user, "/id");
        let (client, refresh_token) = log_in(gateway, &email, &password).await;
        Self {
            client,
            email,
            password,
            id,
            refresh_token,
        }
    }

    /// Another session of the same user.
    pub(crate) async fn log_in_again(&self) -> Self {
        let (client, refresh_token) = log_in(&self.client, &self.email, &self.password).await;
        Self {
            client,
            refresh_token,
            ..self.clone()
        }
    }

    /// The id of this session, from the access token.
    pub(crate) fn session_id(&self) -> String {
        text(&claims(self.client.token()), "/sid")
    }
}

async fn log_in(gateway: &Client, email: &str, password: &str) -> (Client, String) {
    let body = json!({ "email": email, "password": password });
    let session = gateway
        .anonymous()
        .post("/v1/core/sessions", &body)
        .await
        .json_of(201);
    assert_eq!(session["token_type"], "Bearer", "{session}");
    (
        gateway.with_token(&text(&session, "/access_token")),
        text(&session, "/refresh_token"),
    )
}

/// The claims of a token, unverified.
pub(crate) fn claims(token: &str) -> Value {
    part(token, 1)
}

/// The header of a token.
pub(crate) fn token_header(token: &str) -> Value {
    part(token, 0)
}

fn part(token: &str, index: usize) -> Value {
    use base64::Engine as _;
    let part = token
        .split('.')
        .nth(index)
        .expect("a token has three parts");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(part)
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The text at a JSON pointer.
#[track_caller]
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no text at {pointer}: {value:#}"))
        .to_owned()
}
