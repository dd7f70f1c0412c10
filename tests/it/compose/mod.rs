//! The composed stack on a real engine. `cargo xtask test --compose` says which Compose is
//! tried and has the images ready; without that these are left out.

mod bad_input;
mod engine;
mod metrics;
mod project;
mod traffic;

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use tokio::task::block_in_place;

use self::engine::{docker, logs};
use self::project::{Project, published};
use self::traffic::{Traffic, report};
use crate::harness::graphql::{self, Link};
use crate::harness::wait::within;
use crate::harness::{Client, User};
use crate::journey;

/// A new replica gets requests so soon after it listens.
const FOUND_WITHIN: Duration = Duration::from_secs(5);
const SERVICES: [&str; 3] = ["core", "media", "links"];
const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Docker engine: cargo xtask test --compose"]
async fn the_composed_stack_serves_and_survives() {
    let mut project = Project::new("journey");
    let began = Instant::now();
    project.up(&["--scale", "media=3"]);
    project.healthy("gateway").await;
    println!("up to healthy: {:.1} s", began.elapsed().as_secs_f64());

    let door = project.client();
    journey::of_a_person(&door).await;
    every_replica_answers(&project, &door, "media", 3).await;
    println!("{}", memory(&project));
    metrics::are_all_there(&project);

    let ada = User::sign_up(&door).await;
    let link = graphql::create_link(&ada.client, "https://example.org/meanwhile").await;
    let mut failed = 0;
    failed += a_replica_is_killed(&project, &ada, &link).await;
    failed += a_replica_is_added(&project, &ada, &link).await;
    for service in SERVICES {
        failed += a_service_is_rolled(&mut project, service, &ada, &link).await;
    }
    assert_eq!(failed, 0, "requests failed; see above");
    postgres_is_restarted(&project, &ada, &link).await;
    clicks_of_a_dead_replica_are_counted(&project, &ada).await;
    everything_is_scaled(project, &ada).await;
}

/// Asks until each replica has logged a request that came through the gateway.
async fn every_replica_answers(project: &Project, door: &Client, service: &str, count: usize) {
    let replicas = project.containers(service);
    assert_eq!(replicas.len(), count, "replicas of {service}");
    within(
        PATIENCE,
        &format!("all replicas of {service} answer"),
        || async {
            let path = format!("/v1/{service}/openapi.json");
            door.get(&path).await.expect(200);
            block_in_place(|| replicas.iter().all(|id| has_answered(id))).then_some(())
        },
    )
    .await;
    println!("{service}: all {count} replicas have answered");
}

/// Probes are not logged: a line with a route is somebody's request.
fn has_answered(container: &str) -> bool {
    logs(container).contains("\"route\":")
}

async fn a_replica_is_killed(project: &Project, ada: &User, link: &Link) -> usize {
    let traffic = Traffic::start(ada, link);
    traffic.progress(50).await;
    let victim = project.containers("media").swap_remove(0);
    block_in_place(|| docker(&["kill", &victim]));
    traffic.progress(200).await;
    assert_eq!(project.containers("media").len(), 2);
    report("media killed (1 of 3)", &traffic.finish().await)
}

async fn a_replica_is_added(project: &Project, ada: &User, link: &Link) -> usize {
    // The dead one would be started again in place of a new one.
    project.compose(&["rm", "--force", "media"]);
    let before = project.containers("media");
    let traffic = Traffic::start(ada, link);
    traffic.progress(50).await;
    project.scale("media", 3);
    let added = project.containers("media");
    let added: Vec<_> = added.iter().filter(|id| !before.contains(id)).collect();
    let [added] = added[..] else {
        panic!("one replica was added, not {}", added.len());
    };
    project.says(added, "\"listening\"").await;
    let listening = Instant::now();
    within(PATIENCE, "the new replica gets a request", || async {
        block_in_place(|| has_answered(added)).then_some(())
    })
    .await;
    let found = listening.elapsed();
    println!(
        "media added: first request {:.1} s after it listened",
        found.as_secs_f64()
    );
    assert!(found <= FOUND_WITHIN, "found only after {found:?}");
    traffic.progress(50).await;
    report("media added (2 to 3)", &traffic.finish().await)
}

async fn a_service_is_rolled(
    project: &mut Project,
    service: &str,
    ada: &User,
    link: &Link,
) -> usize {
    let image = another_build(project, service);
    let before = project.containers(service);
    let traffic = Traffic::start(ada, link);
    traffic.progress(50).await;
    project.roll(service);
    let after = project.containers(service);
    assert_eq!(after.len(), before.len(), "{service}");
    for id in &after {
        let runs = block_in_place(|| docker(&["inspect", "--format", "{{.Config.Image}}", id]));
        assert_eq!(runs, image);
    }
    traffic.progress(50).await;
    let event = format!("{service} rolled ({} replicas)", before.len());
    report(&event, &traffic.finish().await)
}

/// Another image of the service under a tag of its own, which the project wants from now on.
/// The program is the same; what matters is that every container is replaced.
fn another_build(project: &mut Project, service: &str) -> String {
    let container = project.containers(service).swap_remove(0);
    block_in_place(|| {
        let now = docker(&["inspect", "--format", "{{.Config.Image}}", &container]);
        let (name, _) = now.rsplit_once(':').expect("an image with a tag");
        let next = format!("{name}:{}", project.name);
        let change = "LABEL org.opencontainers.image.version=next";
        let copy = docker(&["create", &now]);
        docker(&["commit", "--change", change, &copy, &next]);
        docker(&["rm", &copy]);
        project.want(service, &project.name.clone());
        next
    })
}

/// What needs the database fails while it is away, at once and with a problem; what is
/// remembered works on. Afterwards everything does, and nobody had to be restarted.
async fn postgres_is_restarted(project: &Project, ada: &User, link: &Link) {
    let replicas: Vec<_> = SERVICES.map(|it| project.containers(it)).concat();
    let traffic = Traffic::start(ada, link);
    traffic.progress(50).await;
    project.compose(&["restart", "postgres"]);
    project.healthy("postgres").await;
    traffic.progress(100).await;
    let outcomes = traffic.finish().await;
    report("postgres restarted", &outcomes);
    let redirects = &outcomes[0];
    assert_eq!(redirects.failures, [""; 0], "redirects need no database");
    for service in SERVICES {
        project.healthy(service).await;
    }
    assert_eq!(SERVICES.map(|it| project.containers(it)).concat(), replicas);
}

/// The replicas share a volume; a lock in it tells, across containers, who is gone.
async fn clicks_of_a_dead_replica_are_counted(project: &Project, ada: &User) {
    project.scale("links", 2);
    project.healthy("links").await;
    let link = graphql::create_link(&ada.client, "https://example.org/orphan").await;
    every_replica_answers(project, &ada.client, "links", 2).await;
    let visitor = ada.client.anonymous();
    let mut answered = 0;
    for _ in 0..50 {
        visitor.get(&link.path()).await.expect(302);
        answered += 1;
    }
    let victim = project.containers("links").swap_remove(0);
    block_in_place(|| docker(&["kill", &victim]));
    let survivor = project.containers("links").swap_remove(0);
    project
        .says(&survivor, "replaying the log of a replica that is gone")
        .await;
    within(PATIENCE, "every answered click is counted", || async {
        let query = json!({ "query": graphql::TOTALS, "variables": { "id": link.id } });
        let call = ada.client.call(Method::POST, graphql::PATH).json(&query);
        let answer = call.try_send().await.ok()?;
        let total = answer.json()["data"]["link"]["clicks"]["total"].as_u64()?;
        assert!(total <= answered, "{total} counted, {answered} answered");
        (total == answered).then_some(())
    })
    .await;
    println!("links killed: all {answered} answered clicks are counted");
    project.compose(&["rm", "--force", "links"]);
}

/// Two of each, the gateway too; then everything goes.
async fn everything_is_scaled(mut project: Project, ada: &User) {
    for service in SERVICES {
        project.scale(service, 2);
        project.healthy(service).await;
        every_replica_answers(&project, &ada.client, service, 2).await;
    }
    project.publish_range();
    project.up(&["--no-deps", "--scale", "gateway=2", "gateway"]);
    project.healthy("gateway").await;
    let gateways = project.containers("gateway");
    assert_eq!(gateways.len(), 2);
    for gateway in gateways {
        let door = ada.client.at(published(&gateway));
        door.get("/v1/core/users/me").await.expect(200);
    }
    println!("gateway: both replicas answer");
    project.down();
}

fn memory(project: &Project) -> String {
    let format = "{{.Name}} {{.MemUsage}}";
    let filter = format!("label=com.docker.compose.project={}", project.name);
    block_in_place(|| {
        let ids = docker(&["ps", "--quiet", "--filter", &filter]);
        let ids: Vec<&str> = ids.lines().collect();
        docker(&[&["stats", "--no-stream", "--format", format], &ids[..]].concat())
    })
}
