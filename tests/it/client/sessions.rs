//! Tokens that expire, are refused or renewed, and renewals that fail.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt as _;
use futures_util::future::try_join_all;
use quartet_client::{MemoryStore, RetryPolicy, Session, TokenStore};

use super::ProxiedStack;
use crate::harness::{Fault, Options, Stack, eventually, sdk};

const REFRESH: &str = "POST /v1/core/sessions/refresh";

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_share_one_renewal() {
    let ProxiedStack { ada, proxy, stack } =
        ProxiedStack::of(Stack::start(Options::short_tokens()).await).await;
    // The first response to the renewal is lost; the retry returns the same successor.
    proxy.next(REFRESH, Fault::LoseResponse);
    eventually("the token is renewed", || async {
        let all = (0..8).map(|_| ada.quartet.me());
        try_join_all(all).await.unwrap();
        (proxy.count(REFRESH) > 0).then_some(())
    })
    .await;
    assert_eq!(proxy.count(REFRESH), 2, "one renewal, sent twice");
    proxy.expect_all_faults_used();
    let me = ada.quartet.me().await.unwrap();
    assert_eq!(me.id.to_string(), ada.id);
    drop(stack);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_renewed_and_an_ended_session_is_reported() {
    let ProxiedStack { ada, proxy, stack } = ProxiedStack::new().await;
    let other = sdk::quartet(proxy.address(), &stack.secrets);
    other
        .login(&ada.email, ada.password.as_str().into())
        .await
        .unwrap();

    // A token that looks valid but is refused.
    let store = Shared::default();
    let third = sdk::builder(proxy.address())
        .store(store.clone())
        .build()
        .unwrap();
    third
        .login(&ada.email, ada.password.as_str().into())
        .await
        .unwrap();
    let mut session = store.load().unwrap().unwrap();
    session.access_token = "nonsense".into();
    store.save(&session).unwrap();
    let fourth = sdk::builder(proxy.address())
        .store(store.clone())
        .build()
        .unwrap();
    assert_eq!(fourth.me().await.unwrap().email, ada.email);
    assert_eq!(proxy.count(REFRESH), 1);
    // The first of the two clients that share the store uses the token that the second renewed.
    assert_eq!(third.me().await.unwrap().email, ada.email);

    let logins: Vec<_> = ada.quartet.sessions().try_collect().await.unwrap();
    assert_eq!(logins.len(), 3, "{logins:#?}");
    let id = other.session_id().await.unwrap().unwrap();
    ada.quartet.end_session(&id).await.unwrap();
    let error = other.me().await.unwrap_err();
    assert_eq!(error.problem().unwrap().status, 401, "{error}");
    assert!(!other.is_logged_in().await.unwrap(), "{error}");

    fourth.logout().await.unwrap();
    assert!(store.load().unwrap().is_none());
    third.logout().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_with_a_shared_store_keep_the_session() {
    let stack = Stack::start(Options::short_tokens()).await;
    let ProxiedStack { ada, proxy, stack } = ProxiedStack::of(stack).await;
    let store = Shared::default();
    let client = || {
        let builder = sdk::builder(proxy.address()).store(store.clone());
        builder.build().unwrap()
    };
    let idle = client();
    let password = ada.password.as_str().into();
    idle.login(&ada.email, password).await.unwrap();
    // Others renew twice: using the first refresh token then would be reuse.
    eventually("two renewals", || async {
        client().me().await.unwrap();
        (proxy.count(REFRESH) >= 2).then_some(())
    })
    .await;
    // What they have stored has to be renewed, too.
    let mut stored = store.load().unwrap().unwrap();
    stored.renew_at = SystemTime::now() - Duration::from_secs(1);
    store.save(&stored).unwrap();
    assert_eq!(idle.me().await.unwrap().email, ada.email);
    client().me().await.unwrap();
    let session = store.load().unwrap().unwrap();
    stack.secrets.add(session.refresh_token.expose());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_token_is_used_while_renewal_fails() {
    let ProxiedStack { ada, proxy, stack } = ProxiedStack::new().await;
    let store = Shared::default();
    let password = ada.password.as_str().into();
    let client = || {
        let builder = sdk::builder(proxy.address()).store(store.clone());
        builder.build().unwrap()
    };
    client().login(&ada.email, password).await.unwrap();
    let mut session = store.load().unwrap().unwrap();
    stack.secrets.add(session.refresh_token.expose());
    session.renew_at = SystemTime::now() - Duration::from_secs(1);
    store.save(&session).unwrap();
    for _ in 0..RetryPolicy::default().attempts {
        proxy.next(REFRESH, Fault::CutBefore);
    }
    let client = client();
    client.me().await.unwrap();
    proxy.expect_all_faults_used();
    let asked = proxy.count(REFRESH);
    client.me().await.unwrap();
    assert_eq!(
        proxy.count(REFRESH),
        asked,
        "not retried with every request"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_output_hides_secrets() {
    let ProxiedStack {
        ada,
        proxy: _proxy,
        stack: _stack,
    } = ProxiedStack::new().await;
    let shown = format!("{:?} {:?}", ada.quartet, ada.quartet.api());
    assert!(
        !shown.contains("eyJ") && !shown.contains("qrt_ref_"),
        "{shown}"
    );
    let credentials = quartet_client::api::types::Credentials {
        email: ada.email.clone(),
        password: ada.password.as_str().into(),
    };
    let tokens = ada
        .quartet
        .api()
        .create_session(&credentials)
        .await
        .unwrap();
    let shown = format!("{credentials:?} {tokens:?}");
    for secret in [&ada.password, "eyJ", "qrt_ref_"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// A store that two processes share.
#[derive(Clone, Debug, Default)]
struct Shared(Arc<MemoryStore>);

impl TokenStore for Shared {
    fn load(&self) -> std::io::Result<Option<Session>> {
        self.0.load()
    }

    fn save(&self, session: &Session) -> std::io::Result<()> {
        self.0.save(session)
    }

    fn clear(&self) -> std::io::Result<()> {
        self.0.clear()
    }
}
