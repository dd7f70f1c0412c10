//! A composed stack with a project name of its own.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use quartet_devstack::workspace;
use tempfile::TempDir;
use tokio::task::block_in_place;

use super::engine::{self, COMPOSE, docker, in_root, logs, state};
use crate::harness::Client;
use crate::harness::secrets::Secrets;
use crate::harness::wait::within;

/// Timeout of a start from scratch on a busy machine.
const START: Duration = Duration::from_mins(4);
/// Rate limits that are raised beyond what tests reach.
const LIMITS: [&str; 6] = ["core", "media", "links", "redirects", "documents", "files"];

/// Removed when it is dropped, including its volumes.
pub(super) struct Project {
    pub(super) name: String,
    compose: Vec<String>,
    files: Vec<PathBuf>,
    port: u16,
    variables: Vec<(String, String)>,
    directory: TempDir,
}

impl Project {
    /// Nothing is started yet.
    pub(super) fn new(purpose: &str) -> Self {
        let words = std::env::var(COMPOSE)
            .unwrap_or_else(|_| panic!("{COMPOSE} is not set: run `cargo xtask test --compose`"));
        let compose: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut project = Self {
            name: format!("quartet-{purpose}-{}", std::process::id()),
            compose,
            files: vec![workspace::root().join("compose/stack.yaml")],
            port,
            variables: Vec::new(),
            directory,
        };
        project.write_settings();
        project
    }

    /// Copies the shipped settings, with raised limits.
    fn write_settings(&mut self) {
        let settings = self.directory.path().join("settings");
        fs::create_dir(&settings).unwrap();
        for entry in fs::read_dir(workspace::root().join("compose/settings")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, settings.join(path.file_name().unwrap())).unwrap();
        }
        let gateway = settings.join("gateway.toml");
        let mut text = fs::read_to_string(&gateway).unwrap();
        text = text.replace("requests = 3000", "requests = 10000000");
        for limit in LIMITS.into_iter().filter(|limit| *limit != "files") {
            let _ = writeln!(text, "[limits.{limit}]\nrequests = 10000000");
        }
        fs::write(&gateway, text).unwrap();
        self.set("QUARTET_SETTINGS", settings.to_str().unwrap());
        self.set("QUARTET_PORT", &self.port.to_string());
        self.set(
            "QUARTET_PUBLIC_URL",
            &format!("http://localhost:{}", self.port),
        );
    }

    /// Sets a variable of `.env`.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Sets the image tag of a service, for the next `up`.
    pub(super) fn set_tag(&mut self, service: &str, tag: &str) {
        self.set(&format!("QUARTET_{}_TAG", service.to_uppercase()), tag);
    }

    /// Publishes a range of ports, for up to three gateways.
    pub(super) fn publish_range(&mut self) {
        let range = format!("{}-{}", self.port, self.port + 2);
        self.set("QUARTET_PORT", &range);
    }

    /// Adds a file to /etc/quartet of the services.
    pub(super) fn write_setting(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join("settings").join(name), text).unwrap();
    }

    /// Fills a volume to the last byte.
    pub(super) fn fill(&self, volume: &str, at: &str) {
        let image = docker(&[
            "inspect",
            "--format",
            "{{.Config.Image}}",
            &self.containers("postgres")[0],
        ]);
        let mount = format!("{}_{volume}:{at}", self.name);
        let script = format!("cat /dev/zero > {at}/filled 2>/dev/null; test -s {at}/filled");
        block_in_place(|| {
            docker(&[
                "run",
                "--rm",
                "--network",
                "none",
                "--volume",
                &mount,
                "--entrypoint",
                "sh",
                &image,
                "-c",
                &script,
            ])
        });
    }

    /// Sets the overlay of the stack.
    pub(super) fn add_overlay(&mut self, name: &str, yaml: &str) {
        let path = self.directory.path().join(name);
        fs::write(&path, yaml).unwrap();
        self.files.truncate(1);
        self.files.push(path);
    }

    /// A Compose command on this project.
    pub(super) fn compose(&self, arguments: &[&str]) -> String {
        block_in_place(|| {
            engine::succeed(
                self.command(&self.compose[0])
                    .args(&self.compose[1..])
                    .args(self.global())
                    .args(arguments),
            )
        })
    }

    /// The same, even if it fails.
    pub(super) fn try_compose(&self, arguments: &[&str]) -> std::process::Output {
        block_in_place(|| {
            engine::run(
                self.command(&self.compose[0])
                    .args(&self.compose[1..])
                    .args(self.global())
                    .args(arguments),
            )
        })
    }

    /// `compose/roll.sh`, as an operator runs it.
    pub(super) fn roll(&self, service: &str) -> String {
        let compose = [self.compose.clone(), self.global()].concat().join(" ");
        let script = workspace::root().join("compose/roll.sh");
        block_in_place(|| {
            engine::succeed(self.command(script).arg(service).env("COMPOSE", compose))
        })
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = in_root(program.as_ref());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn global(&self) -> Vec<String> {
        let mut words = vec!["-p".to_owned(), self.name.clone()];
        for file in &self.files {
            words.extend(["-f".to_owned(), file.to_str().unwrap().to_owned()]);
        }
        words
    }

    /// `up` with these arguments, in the background.
    pub(super) fn up(&self, arguments: &[&str]) {
        self.compose(&[&["up", "-d", "--no-build"], arguments].concat());
    }

    /// Scales one service.
    pub(super) fn scale(&self, service: &str, replicas: usize) {
        let scale = format!("{service}={replicas}");
        self.up(&["--no-deps", "--no-recreate", "--scale", &scale, service]);
    }

    /// The running containers of a service.
    pub(super) fn containers(&self, service: &str) -> Vec<String> {
        self.list(service, &[])
    }

    /// The same, including those that have exited.
    pub(super) fn all_containers(&self, service: &str) -> Vec<String> {
        self.list(service, &["--all"])
    }

    fn list(&self, service: &str, more: &[&str]) -> Vec<String> {
        let project = format!("label=com.docker.compose.project={}", self.name);
        let service = format!("label=com.docker.compose.service={service}");
        let words = [
            "ps",
            "--quiet",
            "--no-trunc",
            "--filter",
            &project,
            "--filter",
            &service,
        ];
        let output = block_in_place(|| docker(&[&words[..], more].concat()));
        output.lines().map(str::to_owned).collect()
    }

    /// Waits until every running container of the service is healthy.
    pub(super) async fn healthy(&self, service: &str) {
        within(START, &format!("{service} is healthy"), || async {
            let found = self.containers(service);
            let all = !found.is_empty()
                && block_in_place(|| found.iter().all(|id| state(id) == "running healthy"));
            all.then_some(())
        })
        .await;
    }

    /// The public gateway.
    pub(super) fn client(&self) -> Client {
        Client::new(loopback(self.port), &Secrets::default())
    }

    /// Waits for a line of the log of a container that contains a text.
    pub(super) async fn log_line(&self, container: &str, text: &str) -> String {
        within(START, &format!("{container} logs `{text}`"), || async {
            let log = block_in_place(|| logs(container));
            log.lines()
                .find(|line| line.contains(text))
                .map(str::to_owned)
        })
        .await
    }

    /// Removes the project; fails the test if anything is left.
    pub(super) fn down(self) {
        self.compose(&["down", "--volumes", "--timeout", "10"]);
        let filter = format!("label=com.docker.compose.project={}", self.name);
        block_in_place(|| {
            for kind in [["ps", "--all"], ["volume", "ls"], ["network", "ls"]] {
                let left = docker(&[&kind[..], &["--quiet", "--filter", &filter]].concat());
                assert_eq!(left, "", "left behind: {}", kind[0]);
            }
        });
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for service in [
                "core", "media", "links", "gateway", "store", "buckets", "roles",
            ] {
                for container in self.all_containers(service) {
                    let text = logs(&container);
                    let tail: Vec<&str> = text.lines().rev().take(8).collect();
                    eprintln!("--- {service} {}", state(&container));
                    tail.iter().rev().for_each(|line| eprintln!("{line}"));
                }
            }
        }
        // Fails after `down`, which is fine.
        let _ = self.try_compose(&["down", "--volumes", "--timeout", "1"]);
    }
}

/// The published address of a gateway container.
pub(super) fn published(container: &str) -> SocketAddr {
    let text = block_in_place(|| docker(&["port", container, "8080/tcp"]));
    let line = text.lines().next().expect("a published port");
    let (_, port) = line.rsplit_once(':').expect("address:port");
    loopback(port.parse().unwrap())
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The first of three consecutive free ports.
fn free_port() -> u16 {
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    (0..200)
        .find_map(|_| {
            let listener = bind(0).ok()?;
            let port = listener.local_addr().ok()?.port();
            let above = bind(port.checked_add(1)?).is_ok() && bind(port.checked_add(2)?).is_ok();
            above.then_some(port)
        })
        .expect("three free ports in a row")
}
