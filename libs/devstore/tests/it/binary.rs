use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::support::{PUBLIC, Server};

/// The running binary, killed when it is dropped.
struct Program {
    child: Child,
    address: String,
}

impl Program {
    fn start(data: &std::path::Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_quartet-devstore"))
            .env_clear()
            .env("QUARTET_DEVSTORE_LISTEN", "127.0.0.1:0")
            .env("QUARTET_DEVSTORE_DATA", data)
            .env("QUARTET_DEVSTORE_ACCESS_KEY", crate::support::ACCESS_KEY)
            .env("QUARTET_DEVSTORE_SECRET_KEY", crate::support::SECRET_KEY)
            .env("QUARTET_DEVSTORE_BUCKETS", "one-bucket,two-bucket")
            .env("QUARTET_DEVSTORE_PUBLIC_BUCKETS", PUBLIC)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let address = line
            .split_once("\"address\":\"")
            .unwrap()
            .1
            .split('"')
            .next()
            .unwrap();
        Self {
            address: address.to_owned(),
            child,
        }
    }

    fn terminate(mut self) -> std::process::ExitStatus {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_binary_is_configured_by_the_environment_and_stops_cleanly() {
    let data = tempfile::tempdir().unwrap();
    let program = Program::start(data.path());
    let http = reqwest::Client::new();
    let get = |path: &str| {
        http.get(format!("http://{}/{path}", program.address))
            .send()
    };
    assert_eq!(get("health").await.unwrap().status(), 200);
    assert_eq!(get(&format!("{PUBLIC}/none")).await.unwrap().status(), 404);
    assert_eq!(get("one-bucket/none").await.unwrap().status(), 403);
    // The connection of the health check is still open and idle, which must not delay the exit.
    assert!(program.terminate().success());
    for bucket in ["one-bucket", "two-bucket", PUBLIC] {
        assert!(data.path().join("buckets").join(bucket).is_dir());
    }
}

#[tokio::test]
async fn a_directory_in_use_is_an_error() {
    let server = Server::start().await;
    server.put(PUBLIC, "k", b"x").await;
    let output = Command::new(env!("CARGO_BIN_EXE_quartet-devstore"))
        .env_clear()
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(server.data.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.starts_with("quartet-devstore: "), "{message}");
    assert!(message.contains("in use by another server"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[tokio::test]
async fn health_needs_no_signature() {
    let server = Server::start().await;
    let answer = server.http.get(server.url("health")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn keys_can_be_read_from_files_and_healthcheck_works() {
    let server = tempfile::tempdir().unwrap();
    let [access, secret] = ["access", "secret"].map(|name| server.path().join(name));
    std::fs::write(&access, format!("{}\n", crate::support::ACCESS_KEY)).unwrap();
    std::fs::write(&secret, crate::support::SECRET_KEY).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let command = |word: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quartet-devstore"));
        command
            .env_clear()
            .env("QUARTET_DEVSTORE_LISTEN", address.to_string())
            .env("QUARTET_DEVSTORE_DATA", server.path().join("data"))
            .env("QUARTET_DEVSTORE_ACCESS_KEY_FILE", &access)
            .env("QUARTET_DEVSTORE_SECRET_KEY_FILE", &secret)
            .arg(word)
            .stdout(Stdio::piped());
        command
    };
    assert!(!command("healthcheck").status().unwrap().success());
    let mut child = command("serve").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let program = Program {
        child,
        address: address.to_string(),
    };
    assert!(command("healthcheck").status().unwrap().success());
    let client = crate::support::client_at(address, crate::support::SECRET_KEY, |client| client);
    client
        .create_bucket()
        .bucket("created")
        .send()
        .await
        .unwrap();
    assert!(program.terminate().success());
}
