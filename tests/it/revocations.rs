//! Sessions that end before their access tokens, at every gateway.

use std::time::{Duration, Instant};

use crate::harness::{Client, Options, Stack, User, eventually};

/// What a revocation may take.
const PROMISED: Duration = Duration::from_secs(5);
/// Of a service that does not ask core.
const PATH: &str = "/v1/media/assets";

async fn is_refused(client: &Client, since: Instant) {
    eventually("the token is refused", || async {
        (client.get(PATH).await.status == 401).then_some(())
    })
    .await;
    assert!(since.elapsed() < PROMISED, "{:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_is_refused_by_every_gateway_within_five_seconds() {
    let mut stack = Stack::start(Options::default()).await;
    for number in 2..=3 {
        stack.add_gateway(number);
    }
    let ada = User::sign_up(&stack.client()).await;
    let kept = ada.log_in_again().await;
    let gateways = (1..=3).map(|number| stack.client_of(number));
    let gateways: Vec<_> = gateways
        .map(|gateway| {
            let ended = gateway.with_token(ada.client.token());
            (ended, gateway.with_token(kept.client.token()))
        })
        .collect();
    for (ended, _) in &gateways {
        ended.get(PATH).await.expect(200);
    }
    ada.client
        .delete("/v1/core/sessions/current")
        .await
        .expect(204);
    let started = Instant::now();
    for (ended, kept) in &gateways {
        is_refused(ended, started).await;
        kept.get(PATH).await.expect(200);
    }

    // What ends while core is being replaced is known once it is back.
    let other = kept.log_in_again().await;
    for (gateway, _) in &gateways {
        gateway
            .with_token(other.client.token())
            .get(PATH)
            .await
            .expect(200);
    }
    other
        .client
        .delete("/v1/core/sessions/current")
        .await
        .expect(204);
    stack.kill("core-1");
    stack.restart("core-1");
    let started = Instant::now();
    for (gateway, _) in &gateways {
        let ended = gateway.with_token(other.client.token());
        is_refused(&ended, started).await;
    }
}
