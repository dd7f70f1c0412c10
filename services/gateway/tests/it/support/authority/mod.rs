//! An ACME server of the test: it issues short certificates, suggests when to renew, and refuses when a test wants it to.
//!
//! It proves hosts as real ones do, by asking gateways for the token, but believes every signature: that
//! requests are signed well is what Pebble and Caddy check.

mod issuer;
mod requests;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde_json::Value;

#[cfg(feature = "kubernetes")]
pub(crate) use issuer::serve_with_tls;
use issuer::{TestIssuer, tls_server};

/// A running server; it ends with the test.
#[derive(Clone)]
pub(crate) struct Authority {
    /// Of the directory.
    pub(crate) url: String,
    issuer: Arc<TestIssuer>,
    state: Arc<Mutex<AuthorityState>>,
}

/// What it does, and what it has seen.
pub(crate) struct AuthorityState {
    pub(crate) life: Duration,
    /// Relative to the time of the question, in seconds; `None`: the answer is 404.
    pub(crate) window: Option<(i64, i64)>,
    pub(crate) has_renewal_info: bool,
    pub(crate) retry_after: Option<u64>,
    pub(crate) profiles: Vec<&'static str>,
    /// Answers to the next orders.
    pub(crate) refusals: VecDeque<Refusal>,
    /// Orders that replace a certificate get `alreadyReplaced`.
    pub(crate) refuses_replacing: bool,
    /// Asked for tokens, all of them.
    pub(crate) validators: Vec<SocketAddr>,
    /// Hosts that are proved already need no challenge.
    pub(crate) reuses_proofs: bool,
    /// Every request gets 503.
    pub(crate) is_away: bool,
    /// Finalized orders stay in process until this is false.
    pub(crate) is_slow: bool,
    pub(crate) accounts: Vec<Value>,
    pub(crate) orders: Vec<SeenOrder>,
    pub(crate) questions: usize,
    proved: Vec<String>,
    nonces: u64,
    thumbprints: HashMap<String, String>,
}

/// An answer that is an error.
#[derive(Clone)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) retry_after: Option<u64>,
}

#[derive(Clone, Default)]
pub(crate) struct SeenOrder {
    pub(crate) hosts: Vec<String>,
    pub(crate) profile: Option<String>,
    pub(crate) replaces: Option<String>,
    pub(crate) status: String,
    error: Option<String>,
    chain: Option<String>,
}

impl Authority {
    pub(crate) async fn start() -> Self {
        let issuer = Arc::new(TestIssuer::new());
        let state = Arc::new(Mutex::new(AuthorityState {
            life: Duration::from_hours(24 * 60),
            window: None,
            has_renewal_info: true,
            retry_after: Some(1),
            profiles: vec!["classic", "shortlived"],
            refusals: VecDeque::new(),
            refuses_replacing: false,
            validators: Vec::new(),
            reuses_proofs: false,
            is_away: false,
            is_slow: false,
            accounts: Vec::new(),
            orders: Vec::new(),
            questions: 0,
            proved: Vec::new(),
            nonces: 0,
            thumbprints: HashMap::new(),
        }));
        let router = requests::router(Arc::clone(&issuer), Arc::clone(&state));
        let address = tls_server(&issuer, router).await;
        let url = format!("https://{address}/directory");
        Self { url, issuer, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, AuthorityState> {
        self.state.lock().unwrap()
    }

    /// Of the server itself, and of the certificates that it issues.
    pub(crate) fn ca(&self) -> &str {
        &self.issuer.pem
    }

    /// Orders that have got their certificate.
    pub(crate) fn issued(&self) -> usize {
        let orders = &self.state().orders;
        orders
            .iter()
            .filter(|order| order.status == "valid")
            .count()
    }

    /// `[acme]` with this server and one certificate; `more` are further lines of `[acme]`.
    pub(crate) fn settings(&self, hosts: &[&str], more: &str) -> String {
        let (url, ca) = (&self.url, self.ca());
        format!(
            "[acme]\ndirectory_url = \"{url}\"\ndirectory_ca = '''\n{ca}'''\nterms_agreed = true\n\
             poll_seconds = 1\nrenewal_check_seconds = 1\nretry_seconds = 1\n{more}\n\
             [acme.certificates.web]\nhosts = {hosts:?}\n"
        )
    }
}
