//! Tokens that end, are refused, are renewed, and whose renewal is cut.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt as _;
use futures_util::future::try_join_all;
use quartet_client::{MemoryStore, RetryPolicy, Session, TokenStore};

use super::Scene;
use crate::harness::{Fault, Options, Stack, eventually, sdk};

const REFRESH: &str = "POST /v1/core/sessions/refresh";

#[tokio::test(flavor = "multi_thread")]
async fn an_old_token_is_renewed_once_for_all_that_wait() {
    let Scene { ada, proxy, stack } = Scene::of(Stack::start(Options::short_tokens()).await).await;
    // The first answer of the renewal is lost; its successor is given again.
    proxy.next(REFRESH, Fault::LoseAnswer);
    eventually("the token is renewed", || async {
        let all = (0..8).map(|_| ada.quartet.me());
        try_join_all(all).await.unwrap();
        (proxy.count(REFRESH) > 0).then_some(())
    })
    .await;
    assert_eq!(proxy.count(REFRESH), 2, "one renewal, asked for twice");
    proxy.expect_all_faults_met();
    let me = ada.quartet.me().await.unwrap();
    assert_eq!(me.id.to_string(), ada.id);
    drop(stack);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_renewed_and_an_ended_session_is_told() {
    let Scene { ada, proxy, stack } = Scene::new().await;
    let other = sdk::quartet(proxy.address(), &stack.secrets);
    other
        .log_in(&ada.email, ada.password.as_str().into())
        .await
        .unwrap();

    // A token that looks fresh but is not accepted.
    let store = Shared::default();
    let third = sdk::builder(proxy.address())
        .store(store.clone())
        .build()
        .unwrap();
    third
        .log_in(&ada.email, ada.password.as_str().into())
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
    // The first of the two that share the store finds what the second has renewed.
    assert_eq!(third.me().await.unwrap().email, ada.email);

    let logins: Vec<_> = ada.quartet.sessions().try_collect().await.unwrap();
    assert_eq!(logins.len(), 3, "{logins:#?}");
    let id = other.session_id().await.unwrap().unwrap();
    ada.quartet.end_session(&id).await.unwrap();
    let error = other.me().await.unwrap_err();
    assert_eq!(error.problem().unwrap().status, 401, "{error}");
    assert!(!other.is_logged_in().await.unwrap(), "{error}");

    fourth.log_out().await.unwrap();
    assert!(store.load().unwrap().is_none());
    third.log_out().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_share_a_store_do_not_end_each_others_session() {
    let stack = Stack::start(Options::short_tokens()).await;
    let Scene { ada, proxy, stack } = Scene::of(stack).await;
    let store = Shared::default();
    let client = || {
        let builder = sdk::builder(proxy.address()).store(store.clone());
        builder.build().unwrap()
    };
    let idle = client();
    let password = ada.password.as_str().into();
    idle.log_in(&ada.email, password).await.unwrap();
    // Others renew twice: whoever comes with the first token then is taken for a thief.
    eventually("two renewals", || async {
        client().me().await.unwrap();
        (proxy.count(REFRESH) >= 2).then_some(())
    })
    .await;
    assert_eq!(idle.me().await.unwrap().email, ada.email);
    client().me().await.unwrap();
    let session = store.load().unwrap().unwrap();
    stack.secrets.add(session.refresh_token.expose());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_does_while_it_cannot_be_renewed() {
    let Scene { ada, proxy, stack } = Scene::new().await;
    let store = Shared::default();
    let password = ada.password.as_str().into();
    let client = || {
        let builder = sdk::builder(proxy.address()).store(store.clone());
        builder.build().unwrap()
    };
    client().log_in(&ada.email, password).await.unwrap();
    let mut session = store.load().unwrap().unwrap();
    stack.secrets.add(session.refresh_token.expose());
    session.renew_at = SystemTime::now() - Duration::from_secs(1);
    store.save(&session).unwrap();
    for _ in 0..RetryPolicy::default().attempts {
        proxy.next(REFRESH, Fault::CutBefore);
    }
    let client = client();
    client.me().await.unwrap();
    proxy.expect_all_faults_met();
    let asked = proxy.count(REFRESH);
    client.me().await.unwrap();
    assert_eq!(proxy.count(REFRESH), asked, "not with every request");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_shown_by_debug() {
    let Scene {
        ada,
        proxy: _proxy,
        stack: _stack,
    } = Scene::new().await;
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

/// What two processes have in common.
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
