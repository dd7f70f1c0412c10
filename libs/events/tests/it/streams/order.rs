//! What fails, and the order of what does not.

use quartet_testing::NatsServer;

use super::{Consuming, outbox, unacknowledged};
use crate::support::{Counting, Place, until};

#[tokio::test(flavor = "multi_thread")]
async fn replicas_take_turns_and_keep_the_order_of_each_subject() {
    let place = Place::new().await;
    let Some(server) = NatsServer::start() else {
        return;
    };
    let outbox = outbox(&place, &server);
    // Creates the consumer, so that no replica has to wait for it.
    outbox.deliver_once().await.unwrap();
    let replicas: Vec<_> = (0..3)
        .map(|_| Consuming::start(&place, &server, Counting::default()))
        .collect();
    for _ in 0..20 {
        for subject in ["ada", "eve", "joe"] {
            place.publish(&outbox, subject).await;
        }
        outbox.deliver_once().await.unwrap();
    }
    until(async || {
        let all = "SELECT count(*) FROM effects";
        place.number(all).await == 60
    })
    .await;
    place.assert_all_once_in_order().await;
    drop(replicas);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_event_keeps_later_ones_of_its_subject_waiting_and_no_others() {
    let place = Place::new().await;
    let Some(server) = NatsServer::start() else {
        return;
    };
    let outbox = outbox(&place, &server);
    outbox.deliver_once().await.unwrap();
    let counting = Counting::broken("eve", "reject");
    let consuming = Consuming::start(&place, &server, counting.clone());
    for subject in ["eve", "ada", "eve", "ada"] {
        place.publish(&outbox, subject).await;
    }
    outbox.deliver_once().await.unwrap();
    until(async || place.effects("ada").await == [1, 2]).await;
    until(async || unacknowledged(&server).await == 0).await;
    assert!(consuming.received("rejected", 1));
    assert!(consuming.received("held", 1));
    assert_eq!(place.effects("eve").await, [0i64; 0]);
    counting.broken.lock().unwrap().clear();
    // The first one is not due yet, and the second, which is, does not overtake it.
    consuming.inbox.retry_due(|| false).await.unwrap();
    assert_eq!(place.effects("eve").await, [0i64; 0]);
    assert!(consuming.shows("events_waiting", "2"));
    place.advance(11);
    consuming.inbox.retry_due(|| false).await.unwrap();
    assert_eq!(place.effects("eve").await, [1, 2]);
    assert!(consuming.shows("events_waiting", "0"));
    place.publish(&outbox, "eve").await;
    outbox.deliver_once().await.unwrap();
    until(async || place.effects("eve").await == [1, 2, 3]).await;
    place.assert_all_once_in_order().await;
}

/// A retry is undone with what it has done, and the next one is the same.
#[tokio::test(flavor = "multi_thread")]
async fn panics_and_broken_statements_leave_no_trace() {
    let place = Place::new().await;
    let Some(server) = NatsServer::start() else {
        return;
    };
    let outbox = outbox(&place, &server);
    for (subject, how) in [("eve", "panic"), ("ada", "constraint")] {
        let counting = Counting::broken(subject, how);
        let consuming = Consuming::start(&place, &server, counting.clone());
        place.publish(&outbox, subject).await;
        outbox.deliver_once().await.unwrap();
        until(async || consuming.received("rejected", 1)).await;
        place.advance(11);
        consuming.inbox.retry_due(|| false).await.unwrap();
        assert!(consuming.received("rejected", 2));
        assert_eq!(place.effects(subject).await, [0i64; 0]);
        counting.broken.lock().unwrap().clear();
        place.advance(21);
        consuming.inbox.retry_due(|| false).await.unwrap();
        assert_eq!(place.effects(subject).await, [1]);
    }
    place.assert_all_once_in_order().await;
}

/// While the transport is changed, both are in use.
#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_by_request_does_not_overtake_what_waits() {
    let place = Place::new().await;
    let Some(server) = NatsServer::start() else {
        return;
    };
    let outbox = outbox(&place, &server);
    let counting = Counting::broken("eve", "reject");
    let consuming = Consuming::start(&place, &server, counting.clone());
    place.publish(&outbox, "eve").await;
    outbox.deliver_once().await.unwrap();
    until(async || consuming.received("rejected", 1)).await;
    counting.broken.lock().unwrap().clear();
    let served = place.consumer(counting).await;
    let outbox = place.outbox(served.address);
    for subject in ["eve", "ada"] {
        place.publish(&outbox, subject).await;
    }
    outbox.deliver_once().await.unwrap();
    assert_eq!(served.requests(), 1);
    assert_eq!(place.effects("ada").await, [1]);
    assert_eq!(place.effects("eve").await, [0i64; 0]);
    place.advance(11);
    consuming.inbox.retry_due(|| false).await.unwrap();
    assert_eq!(place.effects("eve").await, [1]);
    outbox.deliver_once().await.unwrap();
    assert_eq!(place.effects("eve").await, [1, 2]);
    place.assert_all_once_in_order().await;
}
