//! Transactions that overlap: nothing is skipped, nothing is out of order.

use futures_util::future::join_all;
use quartet_events::Outbox;

use crate::support::{Counting, Place, event, next, until};

#[tokio::test]
async fn an_event_that_commits_after_a_later_one_is_not_skipped() {
    let place = Place::new().await;
    let consumer = place.consumer(Counting::default()).await;
    let outbox = place.outbox(consumer.address);
    let mut slow = quartet_db::begin(&place.db).await.unwrap();
    let number = next(&mut slow, "slow").await;
    let published = outbox.publish(&mut slow, event("slow", number)).await;
    place.publish(&outbox, "fast").await;
    outbox.deliver_once().await.unwrap();
    assert_eq!(place.effects("fast").await, [1], "it waits for no one");
    slow.commit().await.unwrap();
    published.unwrap().wake();
    outbox.deliver_once().await.unwrap();
    assert_eq!(place.effects("slow").await, [1], "it is not skipped");
}

#[tokio::test]
async fn what_is_rolled_back_is_not_delivered() {
    let place = Place::new().await;
    let consumer = place.consumer(Counting::default()).await;
    let outbox = place.outbox(consumer.address);
    let mut tx = quartet_db::begin(&place.db).await.unwrap();
    let published = outbox.publish(&mut tx, event("ada", 1)).await.unwrap();
    tx.rollback().await.unwrap();
    published.wake();
    outbox.deliver_once().await.unwrap();
    assert_eq!(consumer.requests(), 0);
}

/// Writers of twelve subjects, some of whose transactions roll back or stay open for a while, beside
/// two dispatchers.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_publishers_and_dispatchers_lose_nothing_and_keep_the_order() {
    let place = Place::new().await;
    let consumer = place.consumer(Counting::default()).await;
    let outboxes = [(); 2].map(|()| place.outbox(consumer.address));
    let writers = (0..6).map(|writer| write(&place, &outboxes[0], writer));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let dispatching: Vec<_> = outboxes
        .iter()
        .map(|outbox| {
            let (outbox, stopped) = (outbox.clone(), stopped.clone());
            tokio::spawn(async move {
                while !*stopped.borrow() {
                    outbox.deliver_once().await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    join_all(writers).await;
    stop.send(true).unwrap();
    for task in dispatching {
        task.await.unwrap();
    }
    until(async || {
        outboxes[0].deliver_once().await.unwrap();
        place
            .number("SELECT (sum(last) - (SELECT count(*) FROM effects))::bigint FROM subjects")
            .await
            == 0
    })
    .await;
    assert!(place.number("SELECT sum(last)::bigint FROM subjects").await > 100);
    place.assert_all_once_in_order().await;
    let skipped = "SELECT count(*) FROM outbox WHERE position IS NULL";
    assert_eq!(place.number(skipped).await, 0);
}

async fn write(place: &Place, outbox: &Outbox, writer: usize) {
    for step in 0..40 {
        let subject = format!("subject-{}", (writer * 7 + step) % 12);
        let mut tx = quartet_db::begin(&place.db).await.unwrap();
        let number = next(&mut tx, &subject).await;
        let published = outbox
            .publish(&mut tx, event(&subject, number))
            .await
            .unwrap();
        for _ in 0..(writer * step) % 40 {
            tokio::task::yield_now().await;
        }
        if (writer + step).is_multiple_of(9) {
            tx.rollback().await.unwrap();
        } else {
            tx.commit().await.unwrap();
            published.wake();
        }
    }
}
