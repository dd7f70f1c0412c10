//! The real binary, killed without warning under load: every answered click counts once.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use crate::support::{BROWSER, Replica, World, client, eventually};

/// A process of its own. Killed, not stopped, when it is dropped.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    async fn start(world: &World, settings: &[(&str, &str)]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let listen = port.to_string();
        let mut all = vec![("QUARTET_SERVER_LISTEN", listen.as_str())];
        all.extend_from_slice(settings);
        let child = Command::new(env!("CARGO_BIN_EXE_quartet-links"))
            .arg("serve")
            .envs(world.environment(&all))
            .env("RUST_LOG", "warn")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let client = client();
        eventually(async || client.get(format!("http://{port}/ready")).send().await.ok()).await;
        Self {
            child,
            address: port,
        }
    }

    fn kill(&mut self) {
        // SIGKILL: nothing of the process runs after this.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Follows the link from many connections until the process dies; counts the answers.
async fn load(address: SocketAddr, slug: &str, answered: Arc<AtomicI64>) {
    let workers = (0..16).map(|_| {
        let (url, answered) = (format!("http://{address}/s/{slug}"), Arc::clone(&answered));
        tokio::spawn(async move {
            let client = client();
            while let Ok(response) = client.get(&url).header("user-agent", BROWSER).send().await {
                if response.status() == 302 {
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
}

fn logs(world: &World) -> Vec<PathBuf> {
    let root = std::fs::read_dir(world.volume.path().join("clicks")).unwrap();
    root.map(|entry| entry.unwrap().path()).collect()
}

/// Kills a loaded process in the middle; gives the number of answers.
async fn killed_under_load(
    world: &World,
    slug: &str,
    settings: &[(&str, &str)],
    enough: i64,
) -> i64 {
    let mut process = Process::start(world, settings).await;
    let answered = Arc::new(AtomicI64::new(0));
    let loading = tokio::spawn({
        let (address, slug, answered) = (process.address, slug.to_owned(), Arc::clone(&answered));
        async move { load(address, &slug, answered).await }
    });
    eventually(async || (answered.load(Ordering::SeqCst) >= enough).then_some(())).await;
    process.kill();
    loading.await.unwrap();
    answered.load(Ordering::SeqCst)
}

/// The counts when the witness has adopted everything: at least what was answered, and at most
/// one more for each connection, whose click was logged when its answer was cut off.
async fn settled(world: &World, witness: &Replica, id: &str) -> i64 {
    eventually(async || (logs(world).len() == 1).then_some(())).await;
    let [total, people, _, _] = witness.counts(id).await;
    assert_eq!(total, people);
    total
}

#[tokio::test]
async fn a_killed_replicas_clicks_are_adopted_by_a_living_one_and_counted_once() {
    let world = World::new().await;
    let witness = world.start().await;
    let (id, slug) = witness.link().await;
    let mut answered = 0;
    // In the middle of batches, with small segments, and with each way to force writes.
    for fsync in ["interval", "group", "off"] {
        let settings = [
            ("QUARTET_CLICKS_FSYNC", fsync),
            ("QUARTET_CLICKS_SEGMENT_BYTES", "8192"),
            ("QUARTET_CLICKS_BATCH_ROWS", "50"),
        ];
        answered += killed_under_load(&world, &slug, &settings, 300).await;
        let total = settled(&world, &witness, &id).await;
        assert!(
            (answered..=answered + 16).contains(&total),
            "{total} counted, {answered} answered"
        );
        // What was cut off counts from now on.
        answered = total;
    }
    assert_eq!(witness.metric("links_logs_adopted_total").await, 3);
}

#[tokio::test]
async fn clicks_that_never_reached_the_database_are_replayed_at_the_next_start() {
    let world = World::new().await;
    let setup = world.start().await;
    let (id, slug) = setup.link().await;
    setup.stop().await;
    // Batches so rare that nothing is written before the end.
    let rare = [("QUARTET_CLICKS_BATCH_WAIT_MS", "10000")];
    let answered = killed_under_load(&world, &slug, &rare, 200).await;
    let heir = world.start().await;
    let total = settled(&world, &heir, &id).await;
    assert!(
        (answered..=answered + 16).contains(&total),
        "{total} counted, {answered} answered"
    );
}

#[tokio::test]
async fn a_log_that_was_in_the_database_already_and_has_a_torn_tail_changes_nothing() {
    let world = World::new().await;
    let replica = world.start().await;
    let (id, slug) = replica.link().await;
    for _ in 0..20 {
        replica.follow(&slug).await;
    }
    replica.counts_become(&id, [20, 20, 1, 0]).await;
    // What a crash after the commit and before the deletion leaves: the same records again.
    let own = logs(&world).remove(0);
    let orphan = world.volume.path().join("clicks").join("orphan");
    std::fs::create_dir(&orphan).unwrap();
    let mut bytes = std::fs::read(own.join("0000000001.wal")).unwrap();
    bytes.extend([17, 0, 0, 0, 1, 2, 3, 4, 5]);
    std::fs::write(orphan.join("0000000001.wal"), bytes).unwrap();
    std::fs::write(orphan.join("lock"), []).unwrap();
    eventually(async || (logs(&world).len() == 1).then_some(())).await;
    assert_eq!(replica.counts(&id).await, [20, 20, 1, 0]);
}

#[tokio::test]
async fn a_clean_stop_brings_every_click_into_the_database() {
    let world = World::new().await;
    let replica = world
        .start_with(&[("QUARTET_CLICKS_BATCH_WAIT_MS", "10000")])
        .await;
    let (id, slug) = replica.link().await;
    for _ in 0..30 {
        replica.follow(&slug).await;
    }
    replica.stop().await;
    assert!(logs(&world).is_empty());
    assert_eq!(world.start().await.counts(&id).await, [30, 30, 1, 0]);
}
