//! The load of independent visitors: requests start at fixed times, whether or not the responses
//! before them have arrived, and a response is timed from when its request should have started.
//!
//! Each connection has a thread of its own, which sleeps until its next request: timers of an
//! asynchronous runtime are rounded to a millisecond, which is longer than what is measured. What a
//! thread oversleeps while no response is late is the fault of this program, and not counted.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::bench::Bench;
use crate::load::{Connection, Request, runtime};
use crate::rounds::Round;

/// Few, because they share one core.
const CONNECTIONS: u32 = 16;

/// Sends `per_second` requests in turn for some seconds. The first one of each connection counts as
/// a request, but is not timed.
///
/// # Errors
/// If a single request fails.
pub(crate) fn run(
    bench: &Bench,
    port: u16,
    requests: &[Request],
    per_second: f64,
    seconds: u32,
) -> anyhow::Result<Round> {
    let pause = Duration::from_secs_f64(f64::from(CONNECTIONS) / per_second);
    let begin = Instant::now() + Duration::from_millis(50);
    let end = begin + Duration::from_secs(seconds.into());
    let send = |number: u32| {
        let client = runtime()?;
        let mut connection = client.block_on(Connection::used(port, &requests[0]))?;
        let (mut micros, mut due) = (Vec::new(), begin + pause * number / CONNECTIONS);
        for request in requests.iter().cycle() {
            if due >= end {
                break;
            }
            bench.require_running()?;
            let before = Instant::now();
            thread::sleep(due.saturating_duration_since(before));
            // The last response was late: so is this request, and the wait counts.
            let start = if before > due { due } else { Instant::now() };
            client.block_on(connection.measure(request))?;
            micros.push(u32::try_from(start.elapsed().as_micros())?);
            due += pause;
        }
        anyhow::Ok(micros)
    };
    let mut micros = Vec::new();
    thread::scope(|scope| {
        let start = |number| scope.spawn(move || send(number));
        let senders: Vec<_> = (0..CONNECTIONS).map(start).collect();
        for sender in senders {
            micros.extend(sender.join().ok().context("a sender panicked")??);
        }
        anyhow::Ok(())
    })?;
    ensure!(!micros.is_empty(), "no request was sent");
    let sent = u64::try_from(micros.len())? + u64::from(CONNECTIONS);
    Ok(Round::of_rate(sent, per_second).with_times(micros))
}
