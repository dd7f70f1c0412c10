//! The server: listeners, worker threads, signals, and a shutdown that loses no request.
//!
//! ```text
//! SIGTERM -> /ready is 503 -> drain delay -> listener closed -> last connection closed -> exit 0
//! ```
//!
//! pingora sleeps through the whole grace time at shutdown. So it runs on a thread of its own, and
//! [`run`] returns as soon as the last connection is closed.

use std::{
    net::TcpListener,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    apps::{HttpServerApp as _, HttpServerOptions},
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
use quartet_jobs::Runner;
use tokio::{
    net::TcpStream,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    connection::ConnectionHandler, proxy::Edge, refresh::Refresher, socket::listener_config,
};
use crate::{admin, background, listener, state::State};

/// A backstop; the retries of a request are bounded by its upstream's `retries`.
const MAX_ATTEMPTS: usize = 16;
/// Connections are accepted after the first round of discovery, but no later than this.
const FIRST_DISCOVERY: Duration = Duration::from_millis(300);

/// The listeners that are not public.
#[derive(Debug)]
pub(crate) struct OperatorListeners {
    pub(crate) admin: TcpListener,
    pub(crate) probes: Option<TcpListener>,
}

/// Why the server stopped.
enum StopReason {
    /// The last connection was closed, or the grace time is over.
    Drained,
    Panicked,
}

/// Serves until a signal ends the process and the last connection is closed.
///
/// # Errors
/// When an address cannot be bound, or the server panics.
pub(crate) fn run(
    state: &Arc<State>,
    operators: OperatorListeners,
    jobs: Runner,
) -> anyhow::Result<()> {
    let settings = state.snapshot().config.model.server.clone();
    // pingora retries for half a minute and then panics in a thread; this fails at once.
    for listen in &settings.listen {
        drop(listener::bind(listen.address(), "server.listen")?);
    }
    let threads = settings.worker_threads();
    let conf = ServerConf {
        threads,
        max_retries: MAX_ATTEMPTS,
        upstream_keepalive_pool_size: settings.upstream_pool_size,
        grace_period_seconds: Some(settings.shutdown_grace_seconds),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let (exit, exited) = mpsc::channel();
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let background = Background {
        state: Arc::clone(state),
        start: Mutex::new(Some((operators, jobs))),
        exit: exit.clone(),
    };
    let background = server.add_service(GenBackgroundService::new(
        "background".into(),
        Arc::new(background),
    ));
    let handler = connection_handler(state, &server.configuration);
    let mut public = Service::new("public".to_owned(), handler);
    for listen in &settings.listen {
        public.add_listener(listener_config(listen, &settings));
    }
    server.add_service(public).add_dependency(&background);
    let signals = Signals {
        state: Arc::clone(state),
    };
    thread::Builder::new()
        .name("server".to_owned())
        .spawn(move || {
            let guard = PanicGuard(exit);
            server.run(RunArgs {
                shutdown_signal: Box::new(signals),
            });
            let _ = guard.0.send(StopReason::Drained);
        })?;
    match exited.recv() {
        Ok(StopReason::Drained) => Ok(()),
        Ok(StopReason::Panicked) | Err(_) => anyhow::bail!("the server panicked"),
    }
}

fn connection_handler(state: &Arc<State>, conf: &Arc<ServerConf>) -> ConnectionHandler {
    let state = Arc::clone(state);
    let refresher = Refresher::default();
    let edge = Edge {
        slots: Arc::default(),
        refresher: refresher.clone(),
        state: Arc::clone(&state),
    };
    let mut proxy = http_proxy(conf, edge);
    let mut options = HttpServerOptions::default();
    // Such requests are refused in a phase of this gateway, with a problem and a line in the log.
    options.allow_connect_method_proxying = true;
    proxy.server_options = Some(options);
    let proxy = Arc::new(proxy);
    let serving = Arc::downgrade(&proxy);
    refresher.set(Box::new(move |session| {
        let proxy = serving.upgrade();
        Box::pin(async move {
            // The sender is gone, so no shutdown begins for it: it ends with the process.
            let (_, shutdown) = watch::channel(false);
            if let Some(proxy) = proxy {
                drop(proxy.process_new_http(session, &shutdown).await);
            }
        })
    }));
    ConnectionHandler { proxy, state }
}

/// Wakes the main thread if the server's thread panics.
struct PanicGuard(mpsc::Sender<StopReason>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        let _ = self.0.send(StopReason::Panicked);
    }
}

/// Begins the shutdown: not ready at once, then a pause in which connections are still accepted.
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
        let server = || self.state.snapshot().config.model.server.clone();
        let delay = tokio::select! {
            () = next(&mut terminate) => server().drain_delay_seconds,
            // Ctrl-C in a terminal: there is no load balancer to wait for.
            () = next(&mut interrupt) => 0,
        };
        tracing::info!(target: "quartet", delay_seconds = delay, "draining");
        self.state.readiness.set_draining();
        tokio::select! {
            () = sleep(Duration::from_secs(delay)) => {}
            () = next(&mut interrupt) => {}
        }
        ShutdownSignal::GracefulTerminate
    }
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind)
        .inspect_err(|error| tracing::error!(target: "quartet", %error, "cannot handle signal"))
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

/// Runs the background tasks and the admin listener; ends the process once all is drained.
struct Background {
    state: Arc<State>,
    /// Taken at the start.
    start: Mutex<Option<(OperatorListeners, Runner)>>,
    exit: mpsc::Sender<StopReason>,
}

impl Background {
    /// Waits for the public listener: pingora does not report when it is open.
    async fn listening(&self) {
        let server = self.state.snapshot().config.model.server.clone();
        for listen in &server.listen {
            let address = listener::loopback(listen.address());
            while TcpStream::connect(address).await.is_err() {
                sleep(Duration::from_millis(1)).await;
            }
        }
        // An error would say that it is set.
        let _ = self.state.listening.set(());
        let addresses = server.listen.iter();
        let addresses: Vec<String> = addresses
            .map(|listen| listen.address().to_string())
            .collect();
        tracing::info!(
            target: "quartet",
            address = addresses.join(", "),
            admin = %server.admin_listen,
            version = env!("CARGO_PKG_VERSION"),
            config_hash = &*self.state.snapshot().config.hash,
            "listening"
        );
    }
}

#[async_trait]
impl BackgroundService for Background {
    async fn start_with_ready_notifier(
        &self,
        mut shutdown: ShutdownWatch,
        ready: ServiceReadyNotifier,
    ) {
        let Some((operators, mut jobs)) = self.start.lock().ok().and_then(|mut start| start.take())
        else {
            return;
        };
        let discovered = background::start(&self.state, &mut jobs);
        let first = async {
            discovered.notified().await;
            self.state.snapshot().limit_store_tried().await;
            self.state.snapshot().certificates_tried().await;
        };
        let _ = timeout(FIRST_DISCOVERY, first).await;
        ready.notify_ready();
        // The other listeners report readiness, so they answer once the public one does.
        self.listening().await;
        tokio::spawn(admin::serve(operators.admin, Arc::clone(&self.state)));
        if let Some(probes) = operators.probes {
            tokio::spawn(admin::serve_probes(probes, Arc::clone(&self.state)));
        }
        let begun = shutdown.wait_for(|&begun| begun).await.map(drop);
        if begun.is_ok() {
            self.state.connections.all_closed().await;
        }
        drop(jobs);
        let _ = self.exit.send(StopReason::Drained);
    }
}
