//! The resources of RFC 8555, and that of RFC 9773.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use http::{HeaderValue, Method, StatusCode, header};
use quartet_common::clock::Clock;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{AuthorityState, Refusal, SeenOrder, issuer::TestIssuer};
use crate::support::client;

#[derive(Clone)]
struct Server {
    issuer: Arc<TestIssuer>,
    state: Arc<Mutex<AuthorityState>>,
}

/// What the body of a signed request says.
struct Signed {
    /// The URL of the account, or its key.
    account: String,
    key: Value,
    payload: Value,
}

pub(super) fn router(issuer: Arc<TestIssuer>, state: Arc<Mutex<AuthorityState>>) -> Router {
    Router::new()
        .fallback(answer)
        .with_state(Server { issuer, state })
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let host = head.headers[header::HOST].to_str().unwrap().to_owned();
    let base = format!("https://{host}");
    let path: Vec<&str> = head.uri.path().trim_matches('/').split('/').collect();
    if server.state().is_away {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let mut response = match (&head.method, path.as_slice()) {
        (&Method::GET, ["directory"]) => server.directory(&base),
        (_, ["nonce"]) => StatusCode::OK.into_response(),
        (&Method::GET, ["ari", _]) => server.renewal_info(),
        (_, ["account"]) => server.account(&base, &signed(&body)),
        (_, ["orders"]) => server.new_order(&base, &signed(&body)),
        (_, ["order", order]) => server.order(&base, order),
        (_, ["proof", order, host]) => server.authorization(&base, order, host),
        (_, ["challenge", order, host]) => {
            server.challenge(&base, order, host, &signed(&body)).await
        }
        (_, ["finalize", order]) => server.finalize(&base, order, &signed(&body)),
        (_, ["chain", order]) => server.chain(order),
        _ => StatusCode::NOT_FOUND.into_response(),
    };
    let mut state = server.state();
    state.nonces += 1;
    let nonce = format!("nonce{}", state.nonces).parse().unwrap();
    response.headers_mut().insert("replay-nonce", nonce);
    response
}

impl Server {
    fn state(&self) -> std::sync::MutexGuard<'_, AuthorityState> {
        self.state.lock().unwrap()
    }

    fn directory(&self, base: &str) -> Response {
        let state = self.state();
        let profiles: serde_json::Map<_, _> = state
            .profiles
            .iter()
            .map(|name| ((*name).to_owned(), json!("https://example.org")))
            .collect();
        let mut directory = json!({
            "newNonce": format!("{base}/nonce"),
            "newAccount": format!("{base}/account"),
            "newOrder": format!("{base}/orders"),
            "meta": { "profiles": profiles },
        });
        if state.has_renewal_info {
            directory["renewalInfo"] = json!(format!("{base}/ari"));
        }
        Json(directory).into_response()
    }

    fn renewal_info(&self) -> Response {
        let mut state = self.state();
        state.questions += 1;
        let Some((start, end)) = state.window else {
            return refuse(404, "malformed", None);
        };
        let now = Clock::system().now();
        let at = |seconds| (now + TimeDelta::seconds(seconds)).to_rfc3339();
        let window = json!({ "suggestedWindow": { "start": at(start), "end": at(end) } });
        let mut response = Json(window).into_response();
        if let Some(seconds) = state.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }

    fn account(&self, base: &str, signed: &Signed) -> Response {
        let mut state = self.state();
        let key = &signed.key;
        let text = format!(
            "{{\"crv\":{},\"kty\":{},\"x\":{},\"y\":{}}}",
            key["crv"], key["kty"], key["x"], key["y"]
        );
        let url = format!("{base}/account/{}", state.accounts.len());
        let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(text));
        state.thumbprints.insert(url.clone(), thumbprint);
        state.accounts.push(signed.payload.clone());
        created(&url, json!({ "status": "valid" }))
    }

    fn new_order(&self, base: &str, signed: &Signed) -> Response {
        let mut state = self.state();
        if let Some(refusal) = state.refusals.pop_front() {
            let Refusal {
                status,
                kind,
                retry_after,
            } = refusal;
            return refuse(status, kind, retry_after);
        }
        let text = |name: &str| signed.payload[name].as_str().map(str::to_owned);
        let hosts = signed.payload["identifiers"].as_array().unwrap().iter();
        let order = SeenOrder {
            hosts: hosts
                .map(|it| it["value"].as_str().unwrap().to_owned())
                .collect(),
            profile: text("profile"),
            replaces: text("replaces"),
            status: "pending".to_owned(),
            ..SeenOrder::default()
        };
        if state.refuses_replacing && order.replaces.is_some() {
            state.orders.push(SeenOrder {
                status: "refused".to_owned(),
                ..order
            });
            return refuse(409, "alreadyReplaced", None);
        }
        let number = state.orders.len();
        state.orders.push(order);
        let body = state.describe(base, number);
        created(&format!("{base}/order/{number}"), body)
    }

    fn order(&self, base: &str, order: &str) -> Response {
        let mut state = self.state();
        let Some(number) = state.number(order) else {
            return refuse(404, "malformed", None);
        };
        if !state.is_slow && state.orders[number].status == "processing" {
            "valid".clone_into(&mut state.orders[number].status);
        }
        Json(state.describe(base, number)).into_response()
    }

    fn authorization(&self, base: &str, order: &str, host: &str) -> Response {
        let state = self.state();
        let number = state.number(order).unwrap();
        Json(state.proof(base, number, host)).into_response()
    }

    /// Asks all gateways before it answers.
    async fn challenge(&self, base: &str, order: &str, host: &str, signed: &Signed) -> Response {
        let (validators, expected, number) = {
            let state = self.state();
            let number = state.number(order).unwrap();
            let thumbprint = &state.thumbprints[&signed.account];
            let expected = format!("{}.{thumbprint}", token(number, host));
            (state.validators.clone(), expected, number)
        };
        let mut errors = Vec::new();
        for validator in validators {
            let path = format!("/.well-known/acme-challenge/{}", token(number, host));
            let request = client().get(format!("http://{validator}{path}"));
            let answer = match request.header(header::HOST, host).send().await {
                Ok(response) => response.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            if answer != expected {
                errors.push(format!("{validator} answered {answer}"));
            }
        }
        let mut state = self.state();
        if errors.is_empty() {
            state.proved.push(format!("{number} {host}"));
        } else {
            state.orders[number].error = Some(errors.join("; "));
            "invalid".clone_into(&mut state.orders[number].status);
        }
        let proof = state.proof(base, number, host);
        let mut challenge = proof["challenges"][0].clone();
        // It is noted later, as by servers that ask after they have answered.
        challenge.as_object_mut().unwrap().remove("error");
        Json(challenge).into_response()
    }

    fn finalize(&self, base: &str, order: &str, signed: &Signed) -> Response {
        let mut state = self.state();
        let number = state.number(order).unwrap();
        if state.status(number) != "ready" {
            return refuse(403, "orderNotReady", None);
        }
        let request = signed.payload["csr"].as_str().unwrap();
        let request = URL_SAFE_NO_PAD.decode(request).unwrap();
        let (hosts, life) = (state.orders[number].hosts.clone(), state.life);
        let Some(chain) = self.issuer.issue(&request, &hosts, life) else {
            return refuse(400, "badCSR", None);
        };
        let status = if state.is_slow { "processing" } else { "valid" };
        state.orders[number].chain = Some(chain);
        status.clone_into(&mut state.orders[number].status);
        Json(state.describe(base, number)).into_response()
    }

    fn chain(&self, order: &str) -> Response {
        let state = self.state();
        let chain = state.orders[state.number(order).unwrap()].chain.clone();
        let content_type = HeaderValue::from_static("application/pem-certificate-chain");
        ([(header::CONTENT_TYPE, content_type)], chain.unwrap()).into_response()
    }
}

impl AuthorityState {
    fn number(&self, order: &str) -> Option<usize> {
        order
            .parse()
            .ok()
            .filter(|&number| number < self.orders.len())
    }

    fn is_proved(&self, number: usize, host: &str) -> bool {
        let reused = |proof: &String| self.reuses_proofs && proof.ends_with(&format!(" {host}"));
        let own = format!("{number} {host}");
        self.proved
            .iter()
            .any(|proof| *proof == own || reused(proof))
    }

    fn status(&self, number: usize) -> &str {
        let order = &self.orders[number];
        if order.status == "pending" && order.hosts.iter().all(|host| self.is_proved(number, host))
        {
            return "ready";
        }
        &order.status
    }

    fn describe(&self, base: &str, number: usize) -> Value {
        let order = &self.orders[number];
        let proof = |host: &String| json!(format!("{base}/proof/{number}/{host}"));
        let identifier = |host: &String| json!({ "type": "dns", "value": host });
        let mut body = json!({
            "status": self.status(number),
            "identifiers": order.hosts.iter().map(identifier).collect::<Vec<_>>(),
            "authorizations": order.hosts.iter().map(proof).collect::<Vec<_>>(),
            "finalize": format!("{base}/finalize/{number}"),
        });
        if order.status == "valid" {
            body["certificate"] = json!(format!("{base}/chain/{number}"));
        }
        if let Some(replaces) = &order.replaces {
            body["replaces"] = json!(replaces);
        }
        body
    }

    fn proof(&self, base: &str, number: usize, host: &str) -> Value {
        let order = &self.orders[number];
        let status = match (self.is_proved(number, host), &order.error) {
            (true, _) => "valid",
            (false, Some(_)) => "invalid",
            (false, None) => "pending",
        };
        let mut challenge = json!({
            "type": "http-01",
            "url": format!("{base}/challenge/{number}/{host}"),
            "token": token(number, host),
            "status": status,
        });
        if let Some(error) = &order.error {
            let kind = "urn:ietf:params:acme:error:unauthorized";
            challenge["error"] = json!({ "type": kind, "detail": error });
        }
        json!({
            "identifier": { "type": "dns", "value": host },
            "status": status,
            "challenges": [challenge],
        })
    }
}

/// Of a host in an order.
fn token(number: usize, host: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{number} {host}")))
}

fn signed(body: &Bytes) -> Signed {
    let body: Value = serde_json::from_slice(body).unwrap();
    let decode = |name: &str| {
        let bytes = URL_SAFE_NO_PAD
            .decode(body[name].as_str().unwrap())
            .unwrap();
        serde_json::from_slice(&bytes).unwrap_or(Value::Null)
    };
    let head = decode("protected");
    Signed {
        account: head["kid"].as_str().unwrap_or_default().to_owned(),
        key: head["jwk"].clone(),
        payload: decode("payload"),
    }
}

fn created(location: &str, body: Value) -> Response {
    let location: HeaderValue = location.parse().unwrap();
    (
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(body),
    )
        .into_response()
}

fn refuse(status: u16, kind: &str, retry_after: Option<u64>) -> Response {
    let kind = format!("urn:ietf:params:acme:error:{kind}");
    let body = json!({ "type": kind, "detail": "refused by the test", "status": status });
    let mut response = (StatusCode::from_u16(status).unwrap(), Json(body)).into_response();
    let content_type = HeaderValue::from_static("application/problem+json");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    if let Some(seconds) = retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
