//! The load of independent visitors: requests start at fixed times, whether or not the responses
//! before them have arrived, and a response is timed from when its request should have started.
//!
//! Each connection has a thread of its own, which sleeps until its next request: timers of an
//! asynchronous runtime are rounded to a millisecond, which is longer than what is measured. What a
//! thread oversleeps while no response is late is the fault of this program, and not counted.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::bench::Bench;
use crate::load::Request;
use crate::rounds::median;

/// Few, because they share one core.
const CONNECTIONS: u32 = 16;

/// Of all responses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latency {
    /// All that were sent, the first one of each connection included.
    pub(crate) requests: u64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
}

impl Latency {
    /// Of several rounds.
    pub(crate) fn medians(rounds: &[Self]) -> Self {
        let of = |value: fn(&Self) -> f64| median(rounds.iter().map(value).collect());
        Self {
            requests: rounds.iter().map(|latency| latency.requests).sum(),
            p50_micros: of(|latency| latency.p50_micros),
            p99_micros: of(|latency| latency.p99_micros),
        }
    }
}

/// Sends `per_second` requests in turn for some seconds.
///
/// # Errors
/// If a single request fails.
pub(crate) fn run(
    bench: &Bench,
    port: u16,
    requests: &[Request],
    per_second: f64,
    seconds: u32,
) -> anyhow::Result<Latency> {
    let pause = Duration::from_secs_f64(f64::from(CONNECTIONS) / per_second);
    let begin = Instant::now() + Duration::from_millis(50);
    let mut micros = thread::scope(|scope| {
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let pace = Pace {
                    first: begin + pause * number / CONNECTIONS,
                    pause,
                    end: begin + Duration::from_secs(seconds.into()),
                };
                scope.spawn(move || send(bench, port, requests, pace))
            })
            .collect();
        let mut micros = Vec::new();
        for sender in senders {
            let sent = sender.join().ok().context("a sender panicked")?;
            micros.extend(sent?);
        }
        anyhow::Ok(micros)
    })?;
    ensure!(!micros.is_empty(), "no request was sent");
    micros.sort_unstable();
    let percentile = |percent: usize| f64::from(micros[(micros.len() - 1) * percent / 100]);
    Ok(Latency {
        requests: u64::try_from(micros.len())? + u64::from(CONNECTIONS),
        p50_micros: percentile(50),
        p99_micros: percentile(99),
    })
}

/// When one connection sends.
#[derive(Clone, Copy)]
struct Pace {
    first: Instant,
    pause: Duration,
    end: Instant,
}

fn send(bench: &Bench, port: u16, requests: &[Request], pace: Pace) -> anyhow::Result<Vec<u32>> {
    let mut socket: TcpStream = requests[0].open(port)?;
    let mut micros = Vec::new();
    let mut due = pace.first;
    for request in requests.iter().cycle() {
        if due >= pace.end {
            break;
        }
        bench.require_running()?;
        let before = Instant::now();
        thread::sleep(due.saturating_duration_since(before));
        // The last response was late: so is this request, and the wait counts.
        let start = if before > due { due } else { Instant::now() };
        request.exchange(&mut socket)?;
        micros.push(u32::try_from(start.elapsed().as_micros())?);
        due += pace.pause;
    }
    Ok(micros)
}
