//! What a response is, asserted.

#![expect(
    clippy::unwrap_used,
    reason = "only tests call this; a panic fails the test"
)]

use reqwest::Response;
use serde_json::Value;

/// The body of a response with this status.
///
/// # Panics
/// When the status is another one, or the body is not JSON.
pub async fn json_of(response: Response, status: u16) -> Value {
    let found = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(found, status, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The fields of a problem with this code: pointer or parameter, and rule.
///
/// # Panics
/// When the response is not that problem.
pub async fn problem_of(response: Response, status: u16, code: &str) -> Vec<(String, String)> {
    let problem = json_of(response, status).await;
    assert_eq!(problem["code"], code, "{problem}");
    assert!(problem["request_id"].is_string(), "{problem}");
    let fields = problem["errors"].as_array().cloned().unwrap_or_default();
    let named = |field: &Value| {
        let name = field["pointer"].as_str().or(field["parameter"].as_str());
        let rule = field["code"].as_str();
        (name.unwrap().to_owned(), rule.unwrap().to_owned())
    };
    fields.iter().map(named).collect()
}
