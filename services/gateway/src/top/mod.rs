//! `quartet-gateway top`: the status page in a terminal; and other questions to a running gateway.

mod acme;
mod client;
mod options;
mod rates;
mod screen;
mod table;
mod terminal;

use std::{
    collections::VecDeque,
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use quartet_common::cli;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use crate::{config::load::Sources, status::Status};
use client::AdminClient;
use screen::View;
use terminal::{Key, Terminal};

pub(crate) use acme::{acme_status, renew_certificate};
pub(crate) use client::ask_readiness;
pub use options::TopOptions;

/// Of what rates and percentiles are computed from.
const WINDOW_MS: u64 = 10_000;
/// How soon a key, a signal or a new size of the window is noticed.
const TICK: Duration = Duration::from_millis(100);

/// The reports of the last seconds, the oldest first.
#[derive(Default)]
struct Samples(VecDeque<Status>);

/// Shows what a running gateway does, until a key or a signal ends it.
///
/// # Errors
/// When the gateway does not answer the first request, or the terminal cannot be used.
pub(crate) fn top(sources: &Sources, options: &TopOptions) -> anyhow::Result<()> {
    let client = AdminClient::new(sources, options)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Timers and signals are made outside its tasks.
    let _entered = runtime.enter();
    let mut samples = Samples::default();
    samples.add(runtime.block_on(client.status())?);
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if options.once || is_dumb || !io::stdout().is_terminal() {
        runtime.block_on(sleep(options.interval));
        samples.add(runtime.block_on(client.status())?);
        let lines = samples.view(None).map(|view| view.lines(None, has_color()));
        return cli::print(lines.unwrap_or_default().join("\n") + "\n");
    }
    watch(&client, &runtime, samples, options.interval)
}

/// <https://no-color.org>, and not into files.
fn has_color() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && io::stdout().is_terminal()
}

fn watch(
    client: &AdminClient,
    runtime: &Runtime,
    mut samples: Samples,
    interval: Duration,
) -> anyhow::Result<()> {
    let mut ends = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let mut terminal = Terminal::open().context("the terminal cannot be used")?;
    let (mut due, mut drawn, mut error) = (Instant::now() + interval, None, None);
    let mut first_line = 0;
    loop {
        let is_due = Instant::now() >= due;
        if is_due {
            match runtime.block_on(client.status()) {
                Ok(status) => {
                    samples.add(status);
                    error = None;
                }
                Err(failed) => error = Some(format!("{failed:#}")),
            }
            due = Instant::now() + interval;
        }
        let size = Terminal::size();
        if (is_due || drawn != Some((size, first_line)))
            && let Some(view) = samples.view(error.as_deref())
        {
            let lines = view.lines(Some(size.0), has_color());
            first_line = first_line.min(lines.len().saturating_sub(size.1));
            Terminal::draw(lines.get(first_line..).unwrap_or_default(), size.1)?;
            drawn = Some((size, first_line));
        }
        match terminal.key(TICK)? {
            Some(Key::Quit) => return Ok(()),
            Some(Key::Down(lines)) => first_line = first_line.saturating_add(lines),
            Some(Key::Up(lines)) => first_line = first_line.saturating_sub(lines),
            Some(Key::Other) | None => {}
        }
        if cli::was_hung_up() || runtime.block_on(was_ended(&mut ends)) {
            return Ok(());
        }
    }
}

async fn was_ended(signals: &mut [io::Result<Signal>; 2]) -> bool {
    let [terminate, interrupt] = signals;
    let (Ok(terminate), Ok(interrupt)) = (terminate, interrupt) else {
        return false;
    };
    tokio::select! {
        _ = terminate.recv() => true,
        _ = interrupt.recv() => true,
        () = sleep(Duration::from_millis(1)) => false,
    }
}

impl Samples {
    fn add(&mut self, status: Status) {
        let last = self.0.back();
        // Another process: its counters began again.
        if last.is_some_and(|last| last.uptime_ms > status.uptime_ms || last.host != status.host) {
            self.0.clear();
        }
        let newest = status.uptime_ms;
        self.0.push_back(status);
        let is_old = |sample: &Status| newest - sample.uptime_ms > WINDOW_MS;
        while self.0.len() > 2 && self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
    }

    fn view<'s>(&'s self, error: Option<&'s str>) -> Option<View<'s>> {
        let (now, then) = (self.0.back()?, self.0.front()?);
        Some(View { now, then, error })
    }
}
