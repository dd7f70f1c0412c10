//! A clock that is set back.

use chrono::TimeDelta;
use quartet_testing::Issuer;
use serde_json::json;

use crate::support::{PublishedKeys, clock};

#[tokio::test]
async fn a_clock_set_back_makes_keys_neither_younger_nor_unavailable() {
    let clock = clock();
    let (issuer, published) = (Issuer::new(clock.clone()), PublishedKeys::start().await);
    published.publish(&issuer);
    let verifier = published.verifier(&issuer, &clock);
    let exp = clock.now().timestamp() + 7 * 86_400;
    let token = issuer.token_with("usr_1", json!({"exp": exp, "nbf": null}));
    verifier.verify(&token).await.unwrap();

    clock.advance(TimeDelta::hours(-2));
    verifier.verify(&token).await.unwrap();
    // A fetch has started, although the keys seem to come from the future.
    while verifier.overdue().is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(published.asked(), 2);

    published.withdraw();
    clock.advance(TimeDelta::hours(-25));
    assert!(verifier.verify(&token).await.is_err(), "older than a day");
}
