//! The binary, killed under load: every click whose redirect was sent counts once.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use quartet_testing::child::survives_hangup;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::support::{BROWSER, Cluster, Replica, client, eventually};

#[test]
fn sighup_ends_no_command() {
    assert!(survives_hangup(env!("CARGO_BIN_EXE_quartet-links")));
}

/// A replica in a process of its own, which is killed when this is dropped.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    async fn start(cluster: &Cluster, settings: &[(&str, &str)]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let listen = port.to_string();
        let mut all = vec![("QUARTET_SERVER_LISTEN", listen.as_str())];
        all.extend_from_slice(settings);
        let child = Command::new(env!("CARGO_BIN_EXE_quartet-links"))
            .arg("serve")
            .env_clear()
            .envs(cluster.environment(&all))
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
        // SIGKILL: no code of the process runs after this.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Process {
    /// Bounds the files that the process may open from now on.
    fn limit_files(&self, count: u64) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let limit = Rlimit {
            current: Some(count),
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        prlimit(Pid::from_raw(pid), Resource::Nofile, limit).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Follows the link on many connections until the process dies; counts the redirects.
async fn load(address: SocketAddr, slug: &str, redirected: Arc<AtomicI64>) {
    let workers = (0..16).map(|_| {
        let (url, redirected) = (
            format!("http://{address}/s/{slug}"),
            Arc::clone(&redirected),
        );
        tokio::spawn(async move {
            let client = client();
            while let Ok(response) = client.get(&url).header("user-agent", BROWSER).send().await {
                if response.status() == 302 {
                    redirected.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
}

fn logs(cluster: &Cluster) -> Vec<PathBuf> {
    let root = std::fs::read_dir(cluster.volume.path().join("clicks")).unwrap();
    root.map(|entry| entry.unwrap().path()).collect()
}

/// Kills a replica under load; returns the number of redirects.
async fn killed_under_load(
    cluster: &Cluster,
    slug: &str,
    settings: &[(&str, &str)],
    enough: i64,
) -> i64 {
    let mut process = Process::start(cluster, settings).await;
    let redirected = Arc::new(AtomicI64::new(0));
    let loading = tokio::spawn({
        let (address, slug, redirected) =
            (process.address, slug.to_owned(), Arc::clone(&redirected));
        async move { load(address, &slug, redirected).await }
    });
    eventually(async || (redirected.load(Ordering::SeqCst) >= enough).then_some(())).await;
    process.kill();
    loading.await.unwrap();
    redirected.load(Ordering::SeqCst)
}

/// The total after the other replica has recovered every log: at least the redirects that were
/// received, and at most one more per connection, whose response was cut off after its click was
/// logged.
async fn settled(cluster: &Cluster, other: &Replica, id: &str) -> i64 {
    eventually(async || (logs(cluster).len() == 1).then_some(())).await;
    let [total, people, _, _] = other.counts(id).await;
    assert_eq!(total, people);
    total
}

#[tokio::test]
async fn clicks_of_a_killed_replica_are_recovered_and_counted_once() {
    let cluster = Cluster::new().await;
    let other = cluster.start().await;
    let (id, slug) = other.link().await;
    let mut redirected = 0;
    // In the middle of batches, with small segments, and in each fsync mode.
    for fsync in ["interval", "group", "off"] {
        let settings = [
            ("QUARTET_CLICKS_FSYNC", fsync),
            ("QUARTET_CLICKS_SEGMENT_BYTES", "8192"),
            ("QUARTET_CLICKS_BATCH_ROWS", "50"),
        ];
        redirected += killed_under_load(&cluster, &slug, &settings, 300).await;
        let total = settled(&cluster, &other, &id).await;
        assert!(
            (redirected..=redirected + 16).contains(&total),
            "{total} counted, {redirected} redirected"
        );
        // Responses that were cut off are included from here on.
        redirected = total;
    }
    assert_eq!(other.metric("links_logs_adopted_total").await, 3);
}

#[tokio::test]
async fn unstored_clicks_are_recovered_at_the_next_start() {
    let cluster = Cluster::new().await;
    let setup = cluster.start().await;
    let (id, slug) = setup.link().await;
    setup.stop().await;
    // The long wait keeps batches from being stored before the end.
    let rare = [("QUARTET_CLICKS_BATCH_WAIT_MS", "10000")];
    let redirected = killed_under_load(&cluster, &slug, &rare, 200).await;
    let successor = cluster.start().await;
    let total = settled(&cluster, &successor, &id).await;
    assert!(
        (redirected..=redirected + 16).contains(&total),
        "{total} counted, {redirected} redirected"
    );
}

#[tokio::test]
async fn recovering_a_stored_log_with_a_torn_tail_changes_nothing() {
    let cluster = Cluster::new().await;
    let replica = cluster.start().await;
    let (id, slug) = replica.link().await;
    for _ in 0..20 {
        replica.follow(&slug).await;
    }
    replica.expect_counts(&id, [20, 20, 1, 0]).await;
    // A crash between the commit and the deletion leaves records that are already stored.
    let own = logs(&cluster).remove(0);
    let abandoned = cluster.volume.path().join("clicks").join("abandoned");
    std::fs::create_dir(&abandoned).unwrap();
    let mut bytes = std::fs::read(own.join("0000000001.wal")).unwrap();
    bytes.extend([17, 0, 0, 0, 1, 2, 3, 4, 5]);
    std::fs::write(abandoned.join("0000000001.wal"), bytes).unwrap();
    std::fs::write(abandoned.join("lock"), []).unwrap();
    eventually(async || (logs(&cluster).len() == 1).then_some(())).await;
    assert_eq!(replica.counts(&id).await, [20, 20, 1, 0]);
}

#[tokio::test]
async fn a_broken_frame_of_a_killed_replica_costs_one_click_and_is_counted() {
    let cluster = Cluster::new().await;
    let setup = cluster.start().await;
    let (id, slug) = setup.link().await;
    setup.stop().await;
    let rare = [("QUARTET_CLICKS_BATCH_WAIT_MS", "10000")];
    let mut process = Process::start(&cluster, &rare).await;
    let client = client();
    for _ in 0..20 {
        let url = format!("http://{}/s/{slug}", process.address);
        let answer = client.get(url).header("user-agent", BROWSER).send().await;
        assert_eq!(answer.unwrap().status(), 302);
    }
    process.kill();
    // One flipped bit in the middle, and the lock is gone, as in a backup without empty files.
    let log = logs(&cluster).remove(0);
    let segment = log.join("0000000001.wal");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    std::fs::remove_file(log.join("lock")).unwrap();
    let successor = cluster.start().await;
    let total = settled(&cluster, &successor, &id).await;
    assert_eq!(total, 19);
    assert_eq!(successor.metric("links_click_log_corrupt_total").await, 1);
    assert!(
        successor
            .metric("links_click_log_corrupt_bytes_total")
            .await
            > 40
    );
}

/// Connections may take every file descriptor, and end. The replica must not.
#[tokio::test]
async fn a_log_that_cannot_be_opened_for_a_while_is_read_afterwards() {
    const CLICKS: usize = 300;
    let cluster = Cluster::new().await;
    let other = cluster.start().await;
    let (id, slug) = other.link().await;
    let settings = [
        ("QUARTET_CLICKS_SEGMENT_BYTES", "4096"),
        ("QUARTET_CLICKS_BATCH_WAIT_MS", "1"),
    ];
    let process = Process::start(&cluster, &settings).await;
    let (client, base) = (client(), format!("http://{}", process.address));
    let follow = async || {
        let request = client.get(format!("{base}/s/{slug}"));
        let response = request.header("user-agent", BROWSER).send().await.unwrap();
        assert_eq!(response.status(), 302);
    };
    let segments = || {
        let files = logs(&cluster).into_iter().flat_map(|log| {
            let files = std::fs::read_dir(log).into_iter().flatten();
            files.map(|file| file.unwrap().file_name().into_string().unwrap())
        });
        files
            .filter(|name| name.contains(".wal"))
            .collect::<Vec<_>>()
    };
    follow().await;
    let mut admin = cluster.database.connect_as_admin().await;
    let lock = "BEGIN; SELECT FROM links.links FOR UPDATE";
    sqlx::raw_sql(lock).execute(&mut admin).await.unwrap();
    for _ in 1..CLICKS {
        follow().await;
    }
    assert!(segments().len() > 3, "{:?}", segments());
    process.limit_files(3);
    let before = segments().len();
    sqlx::raw_sql("COMMIT").execute(&mut admin).await.unwrap();
    // The first one is stored, and the next one cannot be opened.
    eventually(async || (segments().len() < before).then_some(())).await;
    process.limit_files(1024);
    let all = i64::try_from(CLICKS).unwrap();
    eventually(async || (other.counts(&id).await[0] == all).then_some(())).await;
    let ready = client.get(format!("{base}/ready")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
    follow().await;
}

#[tokio::test]
async fn clean_stop_stores_every_click() {
    let cluster = Cluster::new().await;
    let replica = cluster
        .start_with(&[("QUARTET_CLICKS_BATCH_WAIT_MS", "10000")])
        .await;
    let (id, slug) = replica.link().await;
    for _ in 0..30 {
        replica.follow(&slug).await;
    }
    replica.stop().await;
    assert!(logs(&cluster).is_empty());
    assert_eq!(cluster.start().await.counts(&id).await, [30, 30, 1, 0]);
}
