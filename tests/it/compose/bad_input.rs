//! What is wrong with a deployment is said in one line and seen in `ps`, and nothing spins.

use std::time::Duration;

use tokio::task::block_in_place;

use super::engine::{logs, restarts, state};
use super::project::Project;
use crate::harness::graphql;
use crate::harness::wait::within;
use crate::harness::{Client, User};

const PATIENCE: Duration = Duration::from_mins(2);
/// The engine waits 0.1 s before the first restart and twice as long before each next one.
const RESTARTS_WATCHED: u32 = 6;
const RESTARTS_TAKE_AT_LEAST: Duration = Duration::from_secs(5);

/// A service that cannot start: what is laid over, and what it says.
struct Broken {
    what: &'static str,
    service: &'static str,
    environment: &'static str,
    says: &'static str,
}

const CANNOT_START: [Broken; 5] = [
    Broken {
        what: "a missing variable",
        service: "core",
        environment: "QUARTET_DATABASE_URL_FILE: /run/secrets/absent",
        says: "QUARTET_DATABASE_URL_FILE: /run/secrets/absent cannot be read: No such file or directory",
    },
    Broken {
        what: "an unknown variable",
        service: "links",
        environment: "QUARTET_CLICKS_LOG_DIRECTORY: /tmp",
        says: "there is no setting `QUARTET_CLICKS_LOG_DIRECTORY`",
    },
    Broken {
        what: "a wrong password",
        service: "media",
        environment: "QUARTET_DATABASE_URL_FILE: /etc/quartet/wrong",
        says: "password authentication failed for user \"quartet_media\"",
    },
    Broken {
        what: "a schema that is behind",
        service: "core",
        environment: "QUARTET_DATABASE_URL_FILE: /etc/quartet/behind",
        says: "schema `core` is behind: migration 1 (identity) is not applied; run `quartet-core migrate`",
    },
    Broken {
        what: "a database that is not there",
        service: "links",
        environment: "QUARTET_DATABASE_URL_FILE: /etc/quartet/nowhere",
        says: "the database does not answer",
    },
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Docker engine: cargo xtask test --compose"]
async fn what_is_wrong_is_said_and_seen_and_nothing_spins() {
    let mut project = Project::new("wrong");
    project.up(&["--scale", "gateway=0"]);
    project.set_aside("wrong", "postgres://quartet_media:wrong@postgres/quartet");
    project.set_aside("behind", &empty_database(&project));
    project.set_aside("nowhere", "postgres://quartet_links:x@nowhere/quartet");
    for broken in CANNOT_START {
        let yaml = overlay(broken.service, broken.environment);
        project.lay_over("broken.yaml", &yaml);
        does_not_start(&project, &broken).await;
    }
    let nowhere = "QUARTET_S3_ENDPOINT: http://store:1";
    project.lay_over("broken.yaml", &overlay("media", nowhere));
    project.up(&["--no-deps", "media"]);
    let media = project.containers("media").swap_remove(0);
    project
        .says(&media, "the object store does not answer")
        .await;
    is_unhealthy(&media).await;
    println!("an unreachable store: {}", state(&media));
    project.down();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Docker engine: cargo xtask test --compose"]
async fn a_full_disk_is_said_and_seen() {
    let mut project = Project::new("full");
    // Room for the log's first segment and some hundred clicks.
    project.lay_over("full.yaml", &disk_of("size=64k"));
    project.up(&[]);
    project.healthy("gateway").await;
    let door: Client = project.client();
    let ada = User::sign_up(&door).await;
    let link = graphql::create_link(&ada.client, "https://example.org/full").await;
    let links = project.containers("links").swap_remove(0);
    // The disk is filled by something else, as it happens.
    project.fill("clicks", "/var/lib/quartet/clicks");
    within(PATIENCE, "the replica is unhealthy", || async {
        door.get(&link.path()).await.expect(302);
        block_in_place(|| state(&links).ends_with(" unhealthy")).then_some(())
    })
    .await;
    let line = project.says(&links, "clicks are being lost").await;
    assert!(line.contains("No space left on device"), "{line}");
    println!("a full disk: {}: {line}", state(&links));

    // Anew, with a volume in which not even a file can be made.
    project.compose(&["down", "--volumes", "--timeout", "1"]);
    project.lay_over("full.yaml", &disk_of("size=64k,nr_inodes=1"));
    project.up(&["links"]);
    let links = project.all_containers("links").swap_remove(0);
    let line = project.says(&links, "No space left on device").await;
    println!(
        "a disk that is full from the start: {}: {line}",
        state(&links)
    );
    restarts_get_rarer(&links).await;
    project.down();
}

async fn does_not_start(project: &Project, broken: &Broken) {
    let Broken {
        what,
        service,
        says,
        ..
    } = *broken;
    project.up(&["--no-deps", service]);
    let container = project.all_containers(service).swap_remove(0);
    let line = project.says(&container, says).await;
    restarts_get_rarer(&container).await;
    let seen = block_in_place(|| state(&container));
    println!("{what}: {seen}: {line}");
    assert!(!seen.ends_with(" healthy"), "{what}: {seen}");
    let told = block_in_place(|| logs(&container));
    let lines = told.lines().filter(|line| line.contains(says)).count();
    let others = told.lines().count() - lines;
    assert!(
        others <= lines,
        "{what}: more than one line per start:\n{told}"
    );
}

async fn restarts_get_rarer(container: &str) {
    let began = std::time::Instant::now();
    let before = block_in_place(|| restarts(container));
    within(PATIENCE, "the engine restarts it", || async {
        let count = block_in_place(|| restarts(container)) - before;
        (count >= RESTARTS_WATCHED.saturating_sub(before)).then_some(())
    })
    .await;
    assert!(
        before >= RESTARTS_WATCHED || began.elapsed() >= RESTARTS_TAKE_AT_LEAST / 2,
        "{RESTARTS_WATCHED} restarts in {:?}",
        began.elapsed()
    );
}

async fn is_unhealthy(container: &str) {
    within(PATIENCE, "the container is unhealthy", || async {
        block_in_place(|| state(container).ends_with(" unhealthy")).then_some(())
    })
    .await;
}

/// The address of a database with roles but without tables.
fn empty_database(project: &Project) -> String {
    let psql = |sql: &str| {
        project.compose(&[
            "exec", "-T", "postgres", "psql", "-U", "postgres", "-tAc", sql,
        ])
    };
    psql("CREATE DATABASE behind");
    psql("CREATE ROLE behind LOGIN PASSWORD 'behind'");
    psql("GRANT ALL ON DATABASE behind TO behind");
    "postgres://behind:behind@postgres/behind".to_owned()
}

fn overlay(service: &str, environment: &str) -> String {
    format!("services:\n  {service}:\n    environment:\n      {environment}\n")
}

/// The click log's volume in memory, with these limits.
fn disk_of(limits: &str) -> String {
    format!(
        "volumes:\n  clicks:\n    driver: local\n    driver_opts:\n      type: tmpfs\n      device: tmpfs\n      o: \"{limits},uid=65532,gid=65532\"\n"
    )
}
