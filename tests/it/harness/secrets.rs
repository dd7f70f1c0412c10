//! The secrets of a test, for which its logs are searched.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// Members of responses whose values are secrets.
const SECRET_MEMBERS: [&str; 2] = ["access_token", "refresh_token"];

/// Clones share the secrets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Arc<Mutex<BTreeSet<String>>>);

impl Secrets {
    pub(crate) fn add(&self, secret: &str) {
        // Short texts would occur at random.
        if secret.len() >= 12 {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(secret.to_owned());
        }
    }

    /// Adds the tokens of a response body, and the signatures of its URLs.
    pub(crate) fn collect(&self, body: &[u8]) {
        let Ok(Value::Object(members)) = serde_json::from_slice::<Value>(body) else {
            return;
        };
        for name in SECRET_MEMBERS {
            if let Some(secret) = members.get(name).and_then(Value::as_str) {
                self.add(secret);
            }
        }
        let urls = [
            members.get("url"),
            members.get("upload").and_then(|it| it.get("url")),
        ];
        for url in urls.into_iter().flatten().filter_map(Value::as_str) {
            let signature = url.split(['?', '&']).find_map(|part| {
                part.strip_prefix("X-Amz-Signature=")
                    .or(part.strip_prefix("x-amz-signature="))
            });
            if let Some(signature) = signature {
                self.add(signature);
            }
        }
    }

    /// The secrets that occur in the text, shortened.
    pub(crate) fn found_in(&self, text: &str) -> Vec<String> {
        let secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        secrets
            .iter()
            .filter(|secret| text.contains(secret.as_str()))
            .map(|secret| format!("{}...", secret.chars().take(12).collect::<String>()))
            .collect()
    }
}
