//! Requests that the gateway sends again, because the first response was lost.

use crate::harness::{Fault, Options, Proxy, Stack, User, eventually, graphql};

/// The redirect has taken effect, and its click is stored or logged, when the response is lost. The retry is
/// the same request, by its id.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_that_is_retried_is_one_click() {
    let (lossy, other) = (Proxy::listen().await, Proxy::listen().await);
    let settings = format!(
        "[upstreams.lossy]\naddresses = [\"{}\", \"{}\"]\n[routes.redirects]\nupstream = \"lossy\"",
        lossy.address(),
        other.address()
    );
    let stack = Stack::start(Options::default().gateway(&settings).replicas("links", 2)).await;
    lossy.set_target(stack.replica("links", 1));
    other.set_target(stack.replica("links", 2));
    let ada = User::sign_up(&stack.client()).await;
    let link = graphql::create_link(&ada.client, "https://example.org/once").await;
    let path = link.path();
    let visits = 6;
    for _ in 0..visits / 2 {
        lossy.next("/s/", Fault::LoseResponse);
    }
    for _ in 0..visits {
        let answer = stack.client().get(&path).await.expect(302);
        assert_eq!(answer.location(), "https://example.org/once");
    }
    lossy.expect_all_faults_used();
    // Half of them were asked for twice.
    assert_eq!(lossy.count("/s/") + other.count("/s/"), visits + visits / 2);
    let total = u64::try_from(visits).unwrap();
    eventually("every visit is a click, and only one", || async {
        let (clicks, _) = graphql::clicks(&ada.client, &link).await;
        assert!(clicks <= total, "{clicks}");
        (clicks == total).then_some(())
    })
    .await;
}
