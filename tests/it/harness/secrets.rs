//! Everything secret that a test comes by, so that the logs can be searched for it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// Members of responses whose values are secrets.
const SECRET_MEMBERS: [&str; 2] = ["access_token", "refresh_token"];

/// Grows during a test; clones share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Arc<Mutex<BTreeSet<String>>>);

impl Secrets {
    pub(crate) fn add(&self, secret: &str) {
        // Short texts would be found by accident.
        if secret.len() >= 12 {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(secret.to_owned());
        }
    }

    /// Takes over the tokens that a response body holds, and the signature of an upload address.
    pub(crate) fn collect(&self, body: &[u8]) {
        let Ok(Value::Object(members)) = serde_json::from_slice::<Value>(body) else {
            return;
        };
        for name in SECRET_MEMBERS {
            if let Some(secret) = members.get(name).and_then(Value::as_str) {
                self.add(secret);
            }
        }
        let addresses = [
            members.get("url"),
            members.get("upload").and_then(|it| it.get("url")),
        ];
        for address in addresses.into_iter().flatten().filter_map(Value::as_str) {
            let signature = address.split(['?', '&']).find_map(|part| {
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
