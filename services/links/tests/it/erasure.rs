//! What `user.deleted` erases.

use quartet_events::{Event, Signer};
use serde_json::{Value, json};

use crate::support::{ALICE, BOB, Cluster, Replica, eventually};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ORPHANS: &str = "SELECT count(*) FROM links.clicks AS c
    WHERE NOT EXISTS (SELECT FROM links.links AS l WHERE l.id = c.link_id)";

/// Delivers the event as core does.
async fn deliver(replica: &Replica, user: &str) {
    let now = replica.cluster.clock.now();
    let id = replica.cluster.clock.uuid_v7();
    let event = Event::new(id, "/v1/core", "user.deleted", user, now);
    let body = json!([event.with_data(json!({ "user_id": user }))]).to_string();
    let signer = Signer::new(&SECRET.into()).unwrap();
    let request = replica
        .client
        .post(replica.url("/internal/events"))
        .headers(signer.sign("batch", now, body.as_bytes()))
        .header("content-type", "application/cloudevents-batch+json")
        .body(body);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let receipt: Value = response.json().await.unwrap();
    assert_eq!(receipt, json!({ "failed": [] }));
}

async fn number(cluster: &Cluster, query: &'static str) -> i64 {
    let mut admin = cluster.database.connect_as_admin().await;
    sqlx::query_scalar(query)
        .fetch_one(&mut admin)
        .await
        .unwrap()
}

#[tokio::test]
async fn links_clicks_and_slugs_of_a_deleted_user_are_erased() {
    let cluster = Cluster::new().await;
    let replica = cluster
        .start_with(&[("QUARTET_EVENTS_SECRET", SECRET)])
        .await;
    let mut slugs = Vec::new();
    for _ in 0..3 {
        let (id, slug) = replica.link().await;
        replica.follow(&slug).await;
        replica.expect_counts(&id, [1, 1, 1, 0]).await;
        slugs.push(slug);
    }
    let renamed =
        "mutation($id: ID!) { updateLink(id: $id, input: { slug: \"renamed-one\" }) { id } }";
    let (id, freed) = replica.link().await;
    replica.data(ALICE, renamed, json!({ "id": id })).await;
    slugs.push("renamed-one".to_owned());
    let create = "mutation { createLink(input: { url: \"https://example.com/\" }) { slug } }";
    let kept = replica.data(BOB, create, Value::Null).await["createLink"]["slug"].take();
    deliver(&replica, ALICE).await;
    // The job is woken; it would come by itself after 30 s only.
    for slug in &slugs {
        eventually(async || (replica.follow(slug).await.status() == 404).then_some(())).await;
    }
    eventually(async || {
        let left =
            "SELECT (SELECT count(*) FROM links.links) + (SELECT count(*) FROM links.click_totals)
            + (SELECT count(*) FROM links.freed_slugs WHERE owner <> '')";
        (number(&cluster, left).await == 2).then_some(())
    })
    .await;
    assert_eq!(replica.follow(kept.as_str().unwrap()).await.status(), 302);
    // The slugs stay reserved, for no one.
    let again = "mutation($slug: String!) { createLink(input: { url: \"https://example.com/\", slug: $slug }) { id } }";
    for owner in [ALICE, BOB] {
        let error = replica.error(owner, again, json!({ "slug": freed })).await;
        assert_eq!(error["extensions"]["code"], "SLUG_TAKEN", "{error}");
    }
    replica.stop().await;
    // The purge of clicks begins with the process.
    let replica = cluster
        .start_with(&[("QUARTET_EVENTS_SECRET", SECRET)])
        .await;
    eventually(async || (number(&cluster, ORPHANS).await == 0).then_some(())).await;
    drop(replica);
}

#[tokio::test]
async fn without_a_secret_no_event_is_received_and_readiness_says_so() {
    let replica = Replica::start().await;
    let response = replica
        .client
        .post(replica.url("/internal/events"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    let ready = replica
        .client
        .get(replica.url("/ready"))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 200);
    let report: Value = ready.json().await.unwrap();
    let notice = "events.secret is not set: no events are received";
    assert_eq!(report["notices"]["events"], json!([notice]));
}
