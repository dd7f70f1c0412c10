//! What to run, and for how long.

use std::fmt;

use clap::ValueEnum;

/// One benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measure {
    /// The gateway beside `HAProxy`, nginx and Caddy
    Gateway,
    /// Cache hits and compression beside nginx
    Cache,
    /// Static files beside nginx
    Sites,
    /// TLS handshakes beside nginx and `HAProxy`, and requests over TLS
    Tls,
    /// Requests with a login's session, beside those with a token
    Session,
    /// Latency of the gateway at half of its highest rate, in an open loop
    Latency,
    /// Rate limits that are counted in a Redis, beside those in memory
    Limits,
    /// Memory of idle connections and `WebSockets`
    Idle,
    /// System calls of the gateway per request
    Syscalls,
    /// The redirect with its durable click beside a bare handler
    Redirect,
    /// Password logins beside bare argon2id, and refreshes
    Login,
    /// Presigned uploads beside pgbench with the same statements
    Presign,
    /// Redirects and the own user through the gateway
    Through,
    /// Size of the binaries, idle memory, time from start to ready
    Sizes,
    /// Memory under mixed load for a long time; only by name
    Soak,
}

impl Measure {
    pub(crate) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// How often and how long one thing is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) seconds: u32,
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rounds of {} s", self.rounds, self.seconds)
    }
}

/// Measures Quartet beside its peers
#[derive(Clone, Debug, clap::Parser)]
#[command(bin_name = "cargo xtask bench")]
pub(crate) struct Plan {
    /// All but `soak` by default; the results are written to benches/BASELINE.md
    names: Vec<Measure>,
    /// Take a small part of the time, and write nothing
    #[arg(long)]
    pub(crate) quick: bool,
    /// How long `soak` takes
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) minutes: u32,
}

impl Plan {
    pub(crate) fn includes(&self, measure: Measure) -> bool {
        let by_default = self.names.is_empty() && measure != Measure::Soak;
        by_default || self.names.contains(&measure)
    }

    /// For what is limited by the processor.
    pub(crate) fn pace(&self) -> Pace {
        let (rounds, seconds) = if self.quick { (2, 1) } else { (5, 4) };
        Pace { rounds, seconds }
    }

    /// For what waits for disks or hashes passwords: fewer requests, longer rounds.
    pub(crate) fn slow_pace(&self) -> Pace {
        let (rounds, seconds) = if self.quick { (1, 3) } else { (4, 5) };
        Pace { rounds, seconds }
    }

    /// How often each service is started.
    pub(crate) fn starts(&self) -> usize {
        if self.quick { 3 } else { 10 }
    }
}
