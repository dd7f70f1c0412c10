//! A broken deployment reports its cause in one log line and is unhealthy in `ps`, and its
//! restarts back off.

use std::time::Duration;

use tokio::task::block_in_place;

use super::engine::{logs, restarts, state};
use super::project::Project;
use crate::harness::graphql;
use crate::harness::wait::within;
use crate::harness::{Client, User};

const PATIENCE: Duration = Duration::from_mins(2);
/// The engine waits 0.1 s before the first restart, and twice as long before each further one.
const RESTARTS_WATCHED: u32 = 6;
const RESTARTS_TAKE_AT_LEAST: Duration = Duration::from_secs(5);

/// A service that cannot start: its overlay, and its log message.
struct Broken {
    what: &'static str,
    service: &'static str,
    environment: &'static str,
    message: &'static str,
}

const CANNOT_START: [Broken; 5] = [
    Broken {
        what: "a missing variable",
        service: "core",
        environment: "QUARTET_DATABASE_URL_FILE: /run/secrets/absent",
        message: "QUARTET_DATABASE_URL_FILE: cannot read /run/secrets/absent: No such file or directory",
    },
    Broken {
        what: "an unknown variable",
        service: "links",
        environment: "QUARTET_CLICKS_LOG_DIRECTORY: /tmp",
        message: "unknown setting `QUARTET_CLICKS_LOG_DIRECTORY`",
    },
    Broken {
        what: "a wrong password",
        service: "media",
        environment: "QUARTET_DATABASE_URL_FILE: /etc/quartet/wrong",
        message: "password authentication failed for user \"quartet_media\"",
    },
    Broken {
        what: "a schema that is behind",
        service: "core",
        environment: "QUARTET_DATABASE_URL_FILE: /etc/quartet/behind",
        message: "schema `core` is behind: migration 1 (identity) is not applied; run `quartet-core migrate`",
    },
    Broken {
        what: "a database that is not there",
        service: "links",
        environment: "QUARTET_DATABASE_URL_FILE: /etc/quartet/nowhere",
        message: "the database does not respond",
    },
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Docker engine: cargo xtask test --compose"]
async fn broken_deployments_report_the_cause_and_back_off() {
    let mut project = Project::new("wrong");
    project.up(&["--scale", "gateway=0"]);
    project.write_setting("wrong", "postgres://quartet_media:wrong@postgres/quartet");
    project.write_setting("behind", &empty_database(&project));
    project.write_setting("nowhere", "postgres://quartet_links:x@nowhere/quartet");
    for broken in CANNOT_START {
        let yaml = overlay(broken.service, broken.environment);
        project.add_overlay("broken.yaml", &yaml);
        check_broken_start(&project, &broken).await;
    }
    let nowhere = "QUARTET_S3_ENDPOINT: http://store:1";
    project.add_overlay("broken.yaml", &overlay("media", nowhere));
    project.up(&["--no-deps", "media"]);
    let media = project.containers("media").swap_remove(0);
    project
        .log_line(&media, "the object store does not respond")
        .await;
    wait_unhealthy(&media).await;
    println!("an unreachable store: {}", state(&media));
    project.down();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Docker engine: cargo xtask test --compose"]
async fn a_full_disk_is_reported() {
    let mut project = Project::new("full");
    // Room for the first segment of the log and a few hundred clicks.
    project.add_overlay("full.yaml", &disk_of("size=64k"));
    project.up(&[]);
    project.healthy("gateway").await;
    let gateway: Client = project.client();
    let ada = User::sign_up(&gateway).await;
    let link = graphql::create_link(&ada.client, "https://example.org/full").await;
    let links = project.containers("links").swap_remove(0);
    // Another program fills the disk.
    project.fill("clicks", "/var/lib/quartet/clicks");
    within(PATIENCE, "the replica is unhealthy", || async {
        gateway.get(&link.path()).await.expect(302);
        block_in_place(|| state(&links).ends_with(" unhealthy")).then_some(())
    })
    .await;
    let line = project.log_line(&links, "clicks are being dropped").await;
    assert!(line.contains("No space left on device"), "{line}");
    println!("a full disk: {}: {line}", state(&links));

    // Again, with a volume in which no file can be created.
    project.compose(&["down", "--volumes", "--timeout", "1"]);
    project.add_overlay("full.yaml", &disk_of("size=64k,nr_inodes=1"));
    project.up(&["links"]);
    let links = project.all_containers("links").swap_remove(0);
    let line = project.log_line(&links, "No space left on device").await;
    println!(
        "a disk that is full from the start: {}: {line}",
        state(&links)
    );
    check_restart_backoff(&links).await;
    project.down();
}

async fn check_broken_start(project: &Project, broken: &Broken) {
    let Broken {
        what,
        service,
        message,
        ..
    } = *broken;
    project.up(&["--no-deps", service]);
    let container = project.all_containers(service).swap_remove(0);
    let line = project.log_line(&container, message).await;
    check_restart_backoff(&container).await;
    let seen = block_in_place(|| state(&container));
    println!("{what}: {seen}: {line}");
    assert!(!seen.ends_with(" healthy"), "{what}: {seen}");
    let output = block_in_place(|| logs(&container));
    let lines = output.lines().filter(|line| line.contains(message)).count();
    let others = output.lines().count() - lines;
    assert!(
        others <= lines,
        "{what}: more than one line per start:\n{output}"
    );
}

async fn check_restart_backoff(container: &str) {
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

async fn wait_unhealthy(container: &str) {
    within(PATIENCE, "the container is unhealthy", || async {
        block_in_place(|| state(container).ends_with(" unhealthy")).then_some(())
    })
    .await;
}

/// The URL of a database with roles but without tables.
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

/// The volume of the click log, in memory, with these limits.
fn disk_of(limits: &str) -> String {
    format!(
        "volumes:\n  clicks:\n    driver: local\n    driver_opts:\n      type: tmpfs\n      device: tmpfs\n      o: \"{limits},uid=65532,gid=65532\"\n"
    )
}
