//! A database cluster: its files, their initialization, the start of its server.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use tempfile::TempDir;

use super::programs::{self, Programs};
use super::url::PostgresUrl;
use super::{Options, Say, pid_file, place};
use crate::cancel::Cancel;
use crate::service::{POLL, Service, ServiceSpec, Shutdown};
use crate::user::User;
use crate::{port, secret};

const SUPERUSER: &str = "postgres";
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Fast, then immediate shutdown. Only the postmaster is signaled: it stops its own children.
pub(super) const SHUTDOWN: Shutdown = Shutdown {
    first: Signal::INT,
    last: Signal::QUIT,
    grace: Duration::from_secs(20),
    group: false,
};
/// Of a throw-away cluster, whose data need not survive.
const UNSAFE: [&str; 4] = [
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=300",
];

/// A cluster that can be started and stopped many times.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) programs: Programs,
    pub(crate) log: PathBuf,
    user: Option<User>,
    data: PathBuf,
    port: u16,
    password: String,
    /// Set for a throw-away cluster: contains all of its files.
    scratch: Option<TempDir>,
    held: Option<Arc<File>>,
}

impl Cluster {
    pub(crate) fn new(
        options: &Options,
        programs: &[Programs],
        user: Option<User>,
    ) -> Result<Self> {
        let held = options.held.clone();
        let Some((root, port)) = &options.kept else {
            let programs = programs.first().context("no programs")?.clone();
            return Self::throw_away(programs, user, secret::random_hex()?, held);
        };
        let data = place::kept(root, user.as_ref(), options.say)?.join("data");
        Ok(Self {
            programs: programs::for_data(programs, &data)?,
            log: root.join("logs/postgres.log"),
            user,
            data,
            port: *port,
            password: secret::load_or_create(&root.join("secrets"), SUPERUSER)?,
            scratch: None,
            held,
        })
    }

    fn throw_away(
        programs: Programs,
        user: Option<User>,
        password: String,
        held: Option<Arc<File>>,
    ) -> Result<Self> {
        let scratch = place::throw_away(user.as_ref())?;
        Ok(Self {
            programs,
            log: scratch.path().join("postgres.log"),
            user,
            data: scratch.path().join("data"),
            port: port::free()?,
            password,
            scratch: Some(scratch),
            held,
        })
    }

    pub(crate) fn admin_url(&self) -> Result<PostgresUrl> {
        let url: PostgresUrl = format!("postgres://127.0.0.1:{}", self.port).parse()?;
        Ok(url.with_user(SUPERUSER, &self.password))
    }

    /// A throw-away standby of this running server: a copy of its files that follows it.
    pub(crate) fn standby(&self) -> Result<Self> {
        let (user, password) = (self.user.clone(), self.password.clone());
        let standby = Self::throw_away(self.programs.clone(), user, password, self.held.clone())?;
        standby.create(&standby.data)?;
        let mut copy = standby
            .spec("pg_basebackup")
            .env("PGPASSWORD", &self.password);
        copy.args.extend([
            "--host=127.0.0.1".into(),
            format!("--port={}", self.port).into(),
            format!("--username={SUPERUSER}").into(),
            "--no-password".into(),
            "--write-recovery-conf".into(),
            "--checkpoint=fast".into(),
            "--no-sync".into(),
            "--pgdata".into(),
            standby.data.clone().into(),
        ]);
        copy.run()?;
        Ok(standby)
    }

    /// Initializes the data if there is none, starts the server and waits until
    /// it accepts connections.
    pub(crate) fn start(&self, say: Say, cancel: &Cancel) -> Result<Service> {
        let (major, data, port) = (self.programs.major, self.data.display(), self.port);
        if !self.data.join("PG_VERSION").exists() {
            say(&format!("Postgres {major}: creating a database in {data}"));
            self.initialize()?;
        }
        pid_file::stop_leftover(&self.data, say)?;
        port::require_free(port, "Postgres")?;
        say(&format!("Postgres {major}: starting on port {port}"));
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match self.start_once(deadline, cancel) {
                // Backends of a killed server hold its memory a moment longer.
                Err(error)
                    if error.to_string().contains("shared memory block")
                        && Instant::now() < deadline =>
                {
                    sleep(POLL);
                }
                other => return other,
            }
        }
    }

    fn start_once(&self, deadline: Instant, cancel: &Cancel) -> Result<Service> {
        let mut server = self.server().start()?;
        let pid = server.pid();
        let timeout = deadline.saturating_duration_since(Instant::now());
        server.wait_until(timeout, cancel, || {
            let is_ready = pid_file::is_ready(&self.data, pid);
            is_ready
                .then_some(())
                .ok_or_else(|| "it accepts no connections".to_owned())
        })?;
        Ok(server)
    }

    fn server(&self) -> ServiceSpec {
        let mut settings = vec![
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            // Loopback is enough, and socket paths have a limit of about 100 bytes.
            "unix_socket_directories=".to_owned(),
            "timezone=UTC".to_owned(),
            "log_timezone=UTC".to_owned(),
        ];
        if self.scratch.is_some() {
            settings.extend(UNSAFE.map(str::to_owned));
        }
        let spec = ServiceSpec {
            name: "Postgres".to_owned(),
            shutdown: SHUTDOWN,
            ..self.spec("postgres").arg("-D").arg(&self.data)
        };
        let settings = settings.into_iter();
        settings.fold(spec, |spec, setting| spec.arg("-c").arg(setting))
    }

    /// Fills a directory beside the final one and renames it, so that a cluster
    /// exists completely or not at all.
    fn initialize(&self) -> Result<()> {
        let fresh = self.data.with_file_name("data.new");
        for leftover in [&fresh, &self.data] {
            if leftover.exists() {
                fs::remove_dir_all(leftover)
                    .with_context(|| format!("remove {}", leftover.display()))?;
            }
        }
        self.create(&fresh)?;
        // Removes itself.
        let password = secret::partial(&fresh, &self.password)?;
        self.own(password.path())?;
        let spec = self.spec("initdb").arg("-D").arg(&fresh);
        let mut spec = spec.arg("--pwfile").arg(password.path());
        // A password sent in clear over loopback is enough for tests: with hundreds of short
        // connections the clients' share of SCRAM would cost more than the tests.
        let safety: &[&str] = if self.scratch.is_some() {
            &["--auth=password", "--no-sync"]
        } else {
            &["--auth=scram-sha-256"]
        };
        let words = ["--username", SUPERUSER, "--encoding=UTF8", "--locale=C"];
        spec.args.extend(words.iter().chain(safety).map(Into::into));
        spec.run()?;
        fs::rename(&fresh, &self.data).with_context(|| format!("rename {}", fresh.display()))
    }

    /// A private directory of the server's user.
    fn create(&self, directory: &Path) -> Result<()> {
        DirBuilder::new()
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("create {}", directory.display()))?;
        self.own(directory)
    }

    fn own(&self, path: &Path) -> Result<()> {
        self.user.iter().try_for_each(|user| user.own(path))
    }

    /// One of the server's programs, as the right user.
    fn spec(&self, program: &str) -> ServiceSpec {
        let path = self.programs.bin.join(program);
        ServiceSpec {
            user: self.user.clone(),
            scratch: self.scratch.as_ref().map(|it| it.path().to_path_buf()),
            held: self.held.clone(),
            ..ServiceSpec::new(program, path, &self.log).env("LC_ALL", "C")
        }
    }
}
