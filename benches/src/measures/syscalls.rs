//! What the gateway asks of the kernel for one request, counted by strace.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jsonwebtoken::Algorithm::HS256;
use rustix::process::{Pid, Signal, kill_process};

use super::peers::{Proxy, Setup};
use super::{CONNECTIONS, GUARDED};
use crate::bench::{Bench, Cores};
use crate::load::{Load, count};
use crate::report::{Section, Table};
use crate::tools;

/// For strace to attach to every thread.
const ATTACH: Duration = Duration::from_millis(500);
const SECONDS: u32 = 2;
/// Rarer calls are not of requests.
const LEAST: f64 = 0.05;

pub(super) fn run(bench: &Bench) -> anyhow::Result<Section> {
    let setup = Setup::new(bench)?;
    let (direct, general) = (setup.gateway(HS256)?, setup.gateway_with(HS256, false, 1)?);
    let mut subjects = vec![
        ("quartet-gateway, HS256", direct),
        ("quartet-gateway, HS256, general path", general),
        ("empty pingora", setup.empty_pingora()?),
    ];
    subjects.extend(setup.nginx().ok().map(|nginx| ("nginx, plain", nginx)));
    let load = setup.load(HS256, GUARDED)?;
    let mut table = Table::new("server | calls per request | of these");
    for (name, proxy) in &subjects {
        bench.require_running()?;
        proxy.run(bench, &load, 1)?;
        let calls = calls(bench, proxy, &load)?;
        let all: f64 = calls.iter().map(|(_, each)| each).sum();
        let listed = calls.iter().map(|(name, each)| format!("{name} {each:.1}"));
        let listed: Vec<String> = listed.collect();
        table.row(name, 1, &[all]).push(listed.join(", "));
    }
    Ok(Section {
        text: format!(include_str!("syscalls.md"), SECONDS, CONNECTIONS),
        table,
        notes: Vec::new(),
    })
}

/// Names of system calls, and how many there were per request.
fn calls(bench: &Bench, proxy: &Proxy, load: &Load) -> anyhow::Result<Vec<(String, f64)>> {
    let strace = tools::require("strace", "strace")?;
    let file = bench.work.join("strace.txt");
    let mut command = Command::new(strace);
    command.args(["-c", "-f", "-o"]).arg(&file).arg("-p");
    command.arg(proxy.service.pid().to_string());
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let child = bench.on(Cores::Others, || command.spawn())?;
    let mut child = child.context("start strace")?;
    bench.pause(ATTACH)?;
    let round = proxy.run(bench, load, SECONDS);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.context("the process id of strace")?, Signal::INT)?;
    child.wait().context("wait for strace")?;
    let requests = count(round?.requests);
    let summary = fs::read_to_string(&file).context("read the summary of strace")?;
    let mut calls = parse(&summary);
    ensure!(!calls.is_empty(), "strace counted nothing: {summary}");
    for (_, number) in &mut calls {
        *number /= requests;
    }
    calls.retain(|(_, each)| *each >= LEAST);
    Ok(calls)
}

/// Lines such as `32.1  0.2  10  24958  85 sendto`, the most frequent first.
fn parse(summary: &str) -> Vec<(String, f64)> {
    let lines = summary.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let number: f64 = words.get(3)?.parse().ok()?;
        let name = words.last().filter(|name| **name != "total")?;
        Some(((*name).to_owned(), number))
    });
    let mut calls: Vec<_> = lines.collect();
    calls.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    calls
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_summary_of_strace_is_read() {
        let summary = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n \
            8.30    0.263154          10     24958           sendto\n  \
            3.59    0.113920           3     37433     12475 recvfrom\n\
            100.00    3.171000          51     62391     12475 total\n";
        assert_eq!(
            parse(summary),
            [
                ("recvfrom".to_owned(), 37433.0),
                ("sendto".to_owned(), 24958.0)
            ]
        );
    }
}
