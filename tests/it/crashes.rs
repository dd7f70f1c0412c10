//! Processes that are killed under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use serde_json::json;

use crate::harness::graphql::{self, Link};
use crate::harness::wait::{PATIENCE, within};
use crate::harness::{Client, Load, Options, Stack, User, eventually, files};

/// Follows a link; counts the requests and the redirects.
#[derive(Clone, Default)]
struct Follower {
    sent: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
}

impl Follower {
    async fn follow(self, gateway: Client, path: String) -> Result<(), String> {
        self.sent.fetch_add(1, Ordering::SeqCst);
        match gateway.call(Method::GET, &path).try_send().await {
            Ok(answer) if answer.status == 302 => {
                self.answered.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
            Ok(answer) if matches!(answer.status, 502..=504) => Err(answer.status.to_string()),
            Ok(answer) => panic!("{path}: {answer:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    fn load(&self, gateway: &Client, link: &Link, workers: usize) -> Load {
        let (this, gateway, path) = (self.clone(), gateway.clone(), link.path());
        Load::start(workers, move |_| {
            this.clone().follow(gateway.clone(), path.clone())
        })
    }

    fn counts(&self) -> (u64, u64) {
        (
            self.answered.load(Ordering::SeqCst),
            self.sent.load(Ordering::SeqCst),
        )
    }
}

/// Waits until the click of every redirect is counted, and checks that none is counted twice.
async fn settle(stack: &Stack, owner: &Client, link: &Link, follower: &Follower) {
    let (answered, sent) = follower.counts();
    eventually("every answered click is counted", || async {
        (graphql::clicks(owner, link).await.0 >= answered).then_some(())
    })
    .await;
    // A click after all others: once it is counted, so are those before it.
    let marker = graphql::create_link(owner, "https://example.org/marker").await;
    stack.client().get(&marker.path()).await.expect(302);
    eventually("the marker is counted", || async {
        (graphql::clicks(owner, &marker).await.0 == 1).then_some(())
    })
    .await;
    let (total, unique) = graphql::clicks(owner, link).await;
    // A GET whose replica died before it responded is retried on another, which counts one click.
    assert!(
        (answered..=sent).contains(&total),
        "{answered} answered, {sent} sent, {total} counted"
    );
    assert_eq!(unique, 1, "all came from one client IP with one user agent");
    let rows = stack.database().count(&format!(
        "SELECT count(*) FROM links.clicks c JOIN links.links l ON l.id = c.link_id WHERE l.slug = '{}'",
        link.slug
    ));
    assert_eq!(rows, total, "single clicks and totals agree");
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_links_under_load_loses_no_click() {
    let mut stack = Stack::small().await;
    let ada = User::sign_up(&stack.client()).await;
    let link = graphql::create_link(&ada.client, "https://example.org/hot").await;
    let follower = Follower::default();
    let load = follower.load(&stack.client(), &link, 8);
    for _ in 0..3 {
        load.progress(150).await;
        stack.kill("links-1");
        load.next_failure().await;
        stack.restart("links-1");
    }
    load.progress(150).await;
    load.finish().await;
    settle(&stack, &ada.client, &link, &follower).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_of_a_lost_replica_are_recovered_by_another() {
    let options = Options::default()
        .replicas("links", 2)
        .set("links", "clicks.adopt_interval_seconds", "1")
        .set("links", "clicks.batch_wait_ms", "2000");
    let mut stack = Stack::start(options).await;
    let ada = User::sign_up(&stack.client()).await;
    let link = graphql::create_link(&ada.client, "https://example.org/orphan").await;
    let follower = Follower::default();
    let load = follower.load(&stack.client(), &link, 8);
    load.progress(200).await;
    stack.kill("links-2");
    load.progress(200).await;
    load.finish().await;
    settle(&stack, &ada.client, &link, &follower).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_recover_after_postgres_is_killed() {
    postgres_outage(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_recover_after_postgres_restarts() {
    postgres_outage(false).await;
}

async fn postgres_outage(kill: bool) {
    let mut stack = Stack::start(Options::default().own_postgres()).await;
    let names = stack.names();
    let before: Vec<u32> = names.iter().map(|name| stack.pid(name)).collect();
    let ada = User::sign_up(&stack.client()).await;
    files::upload(&ada.client, "public").await;
    let link = graphql::create_link(&ada.client, "https://example.org/steady").await;
    let follower = Follower::default();
    let clicks = follower.load(&stack.client(), &link, 2);
    let client = ada.client.clone();
    let reads = Load::start(4, move |number| read(client.clone(), number));
    reads.progress(40).await;
    clicks.progress(40).await;

    let during = async {
        reads.next_failure().await;
        // Cached redirects continue, and their clicks wait in the log.
        clicks.progress(40).await;
    };
    stack.database_mut().outage(kill, during).await;

    for path in ["/v1/core/users/me", "/v1/media/assets"] {
        eventually(&format!("{path} responds again"), || async {
            (ada.client.get(path).await.status == 200).then_some(())
        })
        .await;
    }
    reads.progress(60).await;
    User::sign_up(&stack.client()).await;
    files::upload(&ada.client, "private").await;
    reads.finish().await;
    clicks.finish().await;
    settle(&stack, &ada.client, &link, &follower).await;
    let after: Vec<u32> = names.iter().map(|name| stack.pid(name)).collect();
    assert_eq!(after, before, "nothing was restarted");
}

/// Reads from every service. Without the database the only error is 503.
async fn read(client: Client, number: u64) -> Result<(), String> {
    let answer = match number % 3 {
        0 => client.get("/v1/core/users/me").await,
        1 => client.get("/v1/media/assets").await,
        _ => {
            let query = json!({ "query": "{ links { edges { node { id } } } }" });
            let answer = client.post(graphql::PATH, &query).await;
            if answer.status == 200 && answer.json().get("errors").is_some() {
                let body = answer.json();
                let code = &body["errors"][0]["extensions"]["code"];
                assert!(code != "INTERNAL", "{body:#}");
                return Err(code.to_string());
            }
            answer
        }
    };
    match answer.status {
        200 => Ok(()),
        503 => Err("503".into()),
        other => panic!("{other}: {}", answer.text()),
    }
}

/// Each user leaves while other services are dead, or core dies before it has sent the event.
#[tokio::test(flavor = "multi_thread")]
async fn what_deleted_users_owned_is_erased_although_services_are_killed() {
    let mut stack = Stack::small().await;
    let mut public = Vec::new();
    for dead in [&["media-1"][..], &["links-1"], &["media-1", "links-1"], &[]] {
        let user = User::sign_up(&stack.client()).await;
        let asset = files::upload(&user.client, "public").await;
        public.push(asset["url"].as_str().unwrap().to_owned());
        files::upload(&user.client, "private").await;
        let link = graphql::create_link(&user.client, "https://example.org/left").await;
        stack.client().get(&link.path()).await.expect(302);
        for name in dead {
            stack.kill(name);
        }
        let deletion = user.client.call(Method::DELETE, "/v1/core/users/me");
        let confirmation = json!({"current_password": user.password});
        deletion.json(&confirmation).send().await.expect(204);
        stack.kill("core-1");
        // Core first: without its keys the others do not become ready.
        for name in ["core-1"].iter().chain(dead) {
            stack.restart(name);
        }
    }
    let left = "SELECT (SELECT count(*) FROM media.assets WHERE status <> 'deleting')
        + (SELECT count(*) FROM links.links)
        + (SELECT count(*) FROM links.clicks)";
    within(3 * PATIENCE, "everything is erased", || async {
        (stack.database().count(left) == 0).then_some(())
    })
    .await;
    for url in public {
        // A job of a killed worker is taken over after 30 s without its heartbeat.
        within(3 * PATIENCE, "the object is deleted", || async {
            (files::fetch(&url).await.0 == 404).then_some(())
        })
        .await;
    }
    let applied = "SELECT count(*) FROM media.inbox";
    assert_eq!(stack.database().count(applied), 4, "one event per user");
}
