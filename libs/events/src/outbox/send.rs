//! One request to a consumer: a batch of `CloudEvents`, signed.

use std::collections::HashMap;

use http::{StatusCode, header};
use quartet_auth::signature::Signer;
use quartet_common::clock::Clock;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::{event::BATCH_TYPE, inbox::PATH};

/// A longer response is none of a consumer of events.
const MAX_RESPONSE_BYTES: usize = 512 * 1024;

/// What became of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The consumer has applied every event but these, by id, each with the reason.
    Applied(HashMap<String, EventFailure>),
    /// The consumer does not take this request; another one may be fine.
    Refused(String),
    /// The consumer failed at this request: because of it, or at every other one, too.
    Broken(String),
    /// The consumer takes nothing now.
    Away(String),
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct EventFailure {
    id: String,
    pub(super) reason: String,
    /// It was not tried: an earlier one of the subject failed.
    #[serde(default)]
    pub(super) held: bool,
    /// Perhaps the fault of the consumer, and not of the event.
    #[serde(skip)]
    pub(super) broken: bool,
}

impl EventFailure {
    pub(super) fn new(id: &str, reason: &str) -> Self {
        Self {
            id: id.to_owned(),
            reason: reason.to_owned(),
            held: false,
            broken: false,
        }
    }

    /// Of an event that was not tried.
    pub(super) fn held(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            reason: String::new(),
            held: true,
            broken: false,
        }
    }
}

#[derive(Deserialize)]
struct Receipt {
    failed: Vec<EventFailure>,
}

/// Sends `events`, a JSON array of `CloudEvents`.
pub(super) async fn send(
    client: &reqwest::Client,
    base: &Url,
    signer: &Signer,
    clock: &Clock,
    events: Vec<u8>,
) -> Outcome {
    let id = clock.uuid_v7().to_string();
    let url = format!("{}{PATH}", base.as_str().trim_end_matches('/'));
    let request = client
        .post(url)
        .headers(signer.sign(&id, clock.now(), &events))
        .header(header::CONTENT_TYPE, BATCH_TYPE)
        .body(events);
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Outcome::Away(quartet_common::causes(&error.without_url())),
    };
    let status = response.status();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_RESPONSE_BYTES => {
                body.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => return Outcome::Away("the response is too long".to_owned()),
            Ok(None) => break,
            Err(error) => return Outcome::Away(quartet_common::causes(&error.without_url())),
        }
    }
    judge(status, &body)
}

fn judge(status: StatusCode, body: &[u8]) -> Outcome {
    if status == StatusCode::OK {
        return match serde_json::from_slice::<Receipt>(body) {
            Ok(receipt) => {
                let failed = receipt.failed.into_iter();
                Outcome::Applied(
                    failed
                        .map(|failure| (failure.id.clone(), failure))
                        .collect(),
                )
            }
            Err(_) => Outcome::Away("the response is not a receipt of events".to_owned()),
        };
    }
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = problem["code"].as_str().unwrap_or("no code");
    let reason = format!("HTTP {} ({code})", status.as_u16());
    match status {
        // These are about the request.
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY => Outcome::Refused(reason),
        StatusCode::INTERNAL_SERVER_ERROR => Outcome::Broken(reason),
        _ => Outcome::Away(reason),
    }
}
