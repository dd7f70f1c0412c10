//! The composed stack on a real engine. `cargo xtask test --compose` selects the Compose version
//! and builds the images; without it these tests are skipped.

mod broken_deployments;
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

/// The longest time until a new replica gets requests after it listens.
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

    let gateway = project.client();
    journey::of_a_user(&gateway).await;
    wait_for_every_replica(&project, &gateway, "media", 3).await;
    println!("{}", memory(&project));
    metrics::check_queries(&project);

    let ada = User::sign_up(&gateway).await;
    let link = graphql::create_link(&ada.client, "https://example.org/meanwhile").await;
    let mut failed = 0;
    failed += kill_replica(&project, &ada, &link).await;
    failed += add_replica(&project, &ada, &link).await;
    for service in SERVICES {
        failed += roll_service(&mut project, service, &ada, &link).await;
    }
    assert_eq!(failed, 0, "requests failed; see above");
    restart_postgres(&project, &ada, &link).await;
    recover_clicks_of_a_dead_replica(&project, &ada).await;
    scale_everything(project, &ada).await;
}

/// Sends requests until each replica has logged one.
async fn wait_for_every_replica(project: &Project, gateway: &Client, service: &str, count: usize) {
    let replicas = project.containers(service);
    assert_eq!(replicas.len(), count, "replicas of {service}");
    within(
        PATIENCE,
        &format!("all replicas of {service} respond"),
        || async {
            let path = format!("/v1/{service}/openapi.json");
            gateway.get(&path).await.expect(200);
            block_in_place(|| replicas.iter().all(|id| has_served_requests(id))).then_some(())
        },
    )
    .await;
    println!("{service}: all {count} replicas have responded");
}

/// Probes are not logged: a line with a route is a request through the gateway.
fn has_served_requests(container: &str) -> bool {
    logs(container).contains("\"route\":")
}

async fn kill_replica(project: &Project, ada: &User, link: &Link) -> usize {
    let traffic = Traffic::start(ada, link);
    traffic.progress(50).await;
    let victim = project.containers("media").swap_remove(0);
    block_in_place(|| docker(&["kill", &victim]));
    traffic.progress(200).await;
    assert_eq!(project.containers("media").len(), 2);
    report("media killed (1 of 3)", &traffic.finish().await)
}

async fn add_replica(project: &Project, ada: &User, link: &Link) -> usize {
    // Otherwise the dead one would be restarted instead of a new one.
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
    project.log_line(added, "\"listening\"").await;
    let listening = Instant::now();
    within(PATIENCE, "the new replica gets a request", || async {
        block_in_place(|| has_served_requests(added)).then_some(())
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

async fn roll_service(project: &mut Project, service: &str, ada: &User, link: &Link) -> usize {
    let image = tag_next_image(project, service);
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

/// Creates another image of the service under a new tag, and configures the project to use it.
/// The program is the same; what matters is that every container is replaced.
fn tag_next_image(project: &mut Project, service: &str) -> String {
    let container = project.containers(service).swap_remove(0);
    block_in_place(|| {
        let now = docker(&["inspect", "--format", "{{.Config.Image}}", &container]);
        let (name, _) = now.rsplit_once(':').expect("an image with a tag");
        let next = format!("{name}:{}", project.name);
        let change = "LABEL org.opencontainers.image.version=next";
        let copy = docker(&["create", &now]);
        docker(&["commit", "--change", change, &copy, &next]);
        docker(&["rm", &copy]);
        project.set_tag(service, &project.name.clone());
        next
    })
}

/// Requests that need the database fail immediately with a problem; cached redirects continue.
/// Afterwards everything works again, without a restart of a service.
async fn restart_postgres(project: &Project, ada: &User, link: &Link) {
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

/// The replicas share a volume; a lock in it shows, across containers, which replica is dead.
async fn recover_clicks_of_a_dead_replica(project: &Project, ada: &User) {
    project.scale("links", 2);
    project.healthy("links").await;
    let link = graphql::create_link(&ada.client, "https://example.org/orphan").await;
    wait_for_every_replica(project, &ada.client, "links", 2).await;
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
        .log_line(&survivor, "recovering an abandoned click log")
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

/// Scales each service and the gateway to two, then removes everything.
async fn scale_everything(mut project: Project, ada: &User) {
    for service in SERVICES {
        project.scale(service, 2);
        project.healthy(service).await;
        wait_for_every_replica(&project, &ada.client, service, 2).await;
    }
    project.publish_range();
    project.up(&["--no-deps", "--scale", "gateway=2", "gateway"]);
    project.healthy("gateway").await;
    let gateways = project.containers("gateway");
    assert_eq!(gateways.len(), 2);
    for gateway in gateways {
        let gateway = ada.client.at(published(&gateway));
        gateway.get("/v1/core/users/me").await.expect(200);
    }
    println!("gateway: both replicas respond");
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
