//! The process's server: listeners, worker threads, signals, and an end without loss.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use async_trait::async_trait;
use pingora::{
    apps::HttpServerOptions,
    protocols::http::v2::server::default_h2_options,
    proxy::http_proxy,
    server::{
        RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
        configuration::ServerConf,
    },
    services::{
        ServiceReadyNotifier,
        background::{BackgroundService, GenBackgroundService},
        listening::Service,
    },
};
use tokio::{
    net::TcpStream,
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};

use super::{Edge, front::Front};
use crate::{admin, control, state::State};

/// A whole retry loop is bounded by the upstream's own setting; this is a last resort.
const MOST_ATTEMPTS: usize = 16;
/// New connections wait for the first look-up of names, but not longer than this.
const FIRST_LOOKUP: Duration = Duration::from_millis(300);

/// Why the server is no longer running.
enum Ended {
    /// The last connection has ended, or the grace time has.
    Drained,
    Broken,
}

/// Serves until the process is told to end, and ends once nobody waits for an answer.
///
/// pingora itself sleeps through the whole grace time. So it runs on a thread of its own,
/// and this function returns as soon as the last connection is closed.
///
/// # Errors
/// When an address cannot be listened on, or the server breaks.
pub(crate) fn run(state: &Arc<State>, admin: std::net::TcpListener) -> anyhow::Result<()> {
    let settings = state.snapshot().config.model.server.clone();
    // pingora tries for half a minute and then panics on a thread; this says it at once.
    drop(
        std::net::TcpListener::bind(settings.listen)
            .with_context(|| format!("{} cannot be listened on", settings.listen))?,
    );
    let threads = match settings.threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let conf = ServerConf {
        threads,
        max_retries: MOST_ATTEMPTS,
        upstream_keepalive_pool_size: settings.upstream_pool_size,
        grace_period_seconds: Some(settings.shutdown_grace_seconds),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let (ended, end) = mpsc::channel();
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let control = Control {
        state: Arc::clone(state),
        admin: std::sync::Mutex::new(Some(admin)),
        ended: ended.clone(),
    };
    let control = server.add_service(GenBackgroundService::new(
        "control".into(),
        Arc::new(control),
    ));
    let mut front = Service::new("public".to_owned(), front(state, &server.configuration));
    front.add_tcp(&settings.listen.to_string());
    server.add_service(front).add_dependency(&control);
    let signals = Signals {
        state: Arc::clone(state),
    };
    thread::Builder::new()
        .name("server".to_owned())
        .spawn(move || {
            let report = Report(ended);
            server.run(RunArgs {
                shutdown_signal: Box::new(signals),
            });
            let _ = report.0.send(Ended::Drained);
        })?;
    match end.recv() {
        Ok(Ended::Drained) => Ok(()),
        Ok(Ended::Broken) | Err(_) => anyhow::bail!("the server broke"),
    }
}

fn front(state: &Arc<State>, conf: &Arc<ServerConf>) -> Front {
    let mut proxy = http_proxy(
        conf,
        Edge {
            state: Arc::clone(state),
        },
    );
    let server = &state.snapshot().config.model.server;
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(Duration::from_secs(server.keepalive_timeout_seconds));
    proxy.server_options = Some(options);
    let mut http2 = default_h2_options();
    http2.max_header_list_size(u32::try_from(server.header_limit_bytes).unwrap_or(u32::MAX));
    proxy.h2_options = Some(http2);
    Front {
        proxy: Arc::new(proxy),
        state: Arc::clone(state),
    }
}

/// Tells the main thread when the server's thread dies of a panic.
struct Report(mpsc::Sender<Ended>);

impl Drop for Report {
    fn drop(&mut self) {
        let _ = self.0.send(Ended::Broken);
    }
}

/// SIGTERM: not ready at once, then a pause in which new connections are still taken.
struct Signals {
    state: Arc<State>,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (mut terminate, mut interrupt) = (
            listen(SignalKind::terminate()),
            listen(SignalKind::interrupt()),
        );
        let delay = tokio::select! {
            () = next(&mut terminate) => self.state.snapshot().config.model.server.drain_delay_seconds,
            // Ctrl-C at a terminal: nobody balances load there.
            () = next(&mut interrupt) => 0,
        };
        tracing::info!(target: "quartet", delay_seconds = delay, "draining");
        self.state.begin_drain();
        tokio::select! {
            () = sleep(Duration::from_secs(delay)) => ShutdownSignal::GracefulTerminate,
            () = next(&mut interrupt) => ShutdownSignal::GracefulTerminate,
        }
    }
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind)
        .inspect_err(|error| tracing::error!(target: "quartet", %error, "no signal handler"))
        .ok()
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Everything that goes on beside the requests.
struct Control {
    state: Arc<State>,
    admin: std::sync::Mutex<Option<std::net::TcpListener>>,
    ended: mpsc::Sender<Ended>,
}

impl Control {
    /// pingora does not tell when its listener stands.
    async fn listening(&self) {
        let server = &self.state.snapshot().config.model.server;
        let address = reachable(server.listen);
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(1)).await;
        }
        tracing::info!(
            target: "quartet",
            address = %server.listen,
            admin = %server.admin_listen,
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
    }
}

/// The address under which this process reaches its own listener.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[async_trait]
impl BackgroundService for Control {
    async fn start_with_ready_notifier(
        &self,
        mut shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        let admin = self.admin.lock().ok().and_then(|mut admin| admin.take());
        let looked_up = control::start(&self.state);
        let _ = timeout(FIRST_LOOKUP, looked_up).await;
        ready.notify_ready();
        // Who hears that the gateway is ready must be able to reach it. Until then a
        // probe waits.
        self.listening().await;
        if let Some(admin) = admin {
            tokio::spawn(admin::serve(admin, Arc::clone(&self.state)));
        }
        let begun = shutdown.wait_for(|&begun| begun).await.map(drop);
        if begun.is_ok() {
            self.state.connections.none_left().await;
        }
        let _ = self.ended.send(Ended::Drained);
    }
}
