//! wrk: the load.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::bench::Bench;
use crate::rounds::Round;
use crate::tools;
use crate::usage::Usage;

/// What a browser says; links tells people from bots by it.
pub(crate) const USER_AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";

const REPORT: &str = include_str!("../lua/report.lua");
const CYCLE: &str = include_str!("../lua/cycle.lua");
const REFRESH: &str = include_str!("../lua/refresh.lua");

/// A request as wrk sends it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) body: Option<String>,
}

/// Requests that some connections send over and over.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    script: PathBuf,
    data: PathBuf,
    threads: usize,
    connections: usize,
}

impl Load {
    /// Sends the requests in turn, over so many connections at the same time.
    pub(crate) fn cycle(
        bench: &Bench,
        name: &str,
        connections: usize,
        requests: &[Request],
    ) -> anyhow::Result<Self> {
        let list: Vec<String> = requests.iter().map(Request::to_lua).collect();
        let data = format!("return {{\n{}\n}}\n", list.join(",\n"));
        Self::write(bench, name, CYCLE, &data, 1, connections)
    }

    /// Follows one chain of refresh tokens on each connection.
    pub(crate) fn refresh(
        bench: &Bench,
        name: &str,
        path: &str,
        tokens: &[String],
    ) -> anyhow::Result<Self> {
        let list: Vec<String> = tokens.iter().map(|token| quote(token)).collect();
        let data = format!(
            "return {{ path = {}, headers = {}, tokens = {{ {} }} }}\n",
            quote(path),
            headers(None, true),
            list.join(", ")
        );
        Self::write(bench, name, REFRESH, &data, tokens.len(), tokens.len())
    }

    fn write(
        bench: &Bench,
        name: &str,
        script: &str,
        data: &str,
        threads: usize,
        connections: usize,
    ) -> anyhow::Result<Self> {
        let path = |end: &str| bench.work().join(format!("{name}.{end}.lua"));
        let load = Self {
            script: path("script"),
            data: path("data"),
            threads,
            connections,
        };
        fs::write(&load.script, format!("{script}\n{REPORT}")).context("write a wrk script")?;
        fs::write(&load.data, data).context("write the requests")?;
        Ok(load)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    /// Loads the port and tells what came back and what the process group used for it.
    ///
    /// # Errors
    /// Also when a single request failed: such a round measures nothing.
    pub(crate) fn run(
        &self,
        bench: &Bench,
        port: u16,
        server: u32,
        seconds: u32,
    ) -> anyhow::Result<Round> {
        let before = Usage::of_group(server)?;
        let begin = Instant::now();
        let output = tools::output(&mut self.command(port, seconds), &bench.cancel)?;
        let wall = begin.elapsed();
        let after = Usage::of_group(server)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let answers = Answers::parse(&text).with_context(|| format!("wrk said\n{text}"))?;
        ensure!(answers.failed == 0, "requests failed, wrk said\n{text}");
        ensure!(
            answers.requests > 0,
            "not one request was answered, wrk said\n{text}"
        );
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        Ok(Round {
            requests: answers.requests,
            per_second: count(answers.requests) / answers.seconds,
            p50_ms: answers.p50_ms,
            p99_ms: answers.p99_ms,
            cpu_micros: cpu * 1e6 / count(answers.requests),
            busy: cpu / wall.as_secs_f64(),
            resident_mb: count(after.resident_bytes) / 1e6,
        })
    }

    fn command(&self, port: u16, seconds: u32) -> Command {
        let mut command = Command::new("wrk");
        command
            .arg(format!("--threads={}", self.threads))
            .arg(format!("--connections={}", self.connections))
            .arg(format!("--duration={seconds}s"))
            .args(["--timeout=30s", "--script"])
            .arg(&self.script)
            .arg(format!("http://127.0.0.1:{port}"))
            .arg("--")
            .arg(&self.data);
        command
    }
}

impl Request {
    fn to_lua(&self) -> String {
        let body = self.body.as_deref().map_or_else(|| "nil".to_owned(), quote);
        format!(
            "  {{ method = {}, path = {}, headers = {}, body = {body} }}",
            quote(self.method),
            quote(&self.path),
            headers(self.token.as_deref(), self.body.is_some()),
        )
    }
}

fn headers(token: Option<&str>, body: bool) -> String {
    let mut text = format!("{{ [\"User-Agent\"] = {}", quote(USER_AGENT));
    if let Some(token) = token {
        let _ = write!(
            text,
            ", [\"Authorization\"] = {}",
            quote(&format!("Bearer {token}"))
        );
    }
    if body {
        text.push_str(", [\"Content-Type\"] = \"application/json\"");
    }
    text.push_str(" }");
    text
}

/// A Lua string; the texts are plain ASCII.
fn quote(text: &str) -> String {
    format!("{text:?}")
}

/// Exact for every count that a benchmark can reach.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(crate) fn count(number: u64) -> f64 {
    number as f64
}

/// The line that lua/report.lua writes.
#[derive(Debug, Default, PartialEq)]
struct Answers {
    requests: u64,
    failed: u64,
    seconds: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Answers {
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("result "))?;
        let mut answers = Self::default();
        for word in line.split(' ') {
            let (name, value) = word.split_once('=')?;
            let value: u64 = value.parse().ok()?;
            match name {
                "requests" => answers.requests = value,
                "micros" => answers.seconds = count(value) / 1e6,
                "p50" => answers.p50_ms = count(value) / 1e3,
                "p99" => answers.p99_ms = count(value) / 1e3,
                _ => answers.failed += value,
            }
        }
        Some(answers)
    }
}

/// Empties a log between rounds, so that old lines are never written to the disk.
/// Tells how long it was.
pub(crate) fn empty_log(log: &Path) -> anyhow::Result<u64> {
    let doing = || format!("empty {}", log.display());
    let file = fs::File::options()
        .write(true)
        .open(log)
        .with_context(doing)?;
    let bytes = file.metadata().with_context(doing)?.len();
    file.set_len(0).with_context(doing)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Answers, Request};

    #[test]
    fn reads_the_last_line() {
        let text = "Running 1s test\n\nresult requests=10 micros=2000000 p50=1500 p99=3000 \
                    connect=0 read=1 write=0 timeout=0 status=2\n";
        let answers = Answers::parse(text).unwrap();
        let wanted = Answers {
            requests: 10,
            failed: 3,
            seconds: 2.0,
            p50_ms: 1.5,
            p99_ms: 3.0,
        };
        assert_eq!(answers, wanted);
    }

    #[test]
    fn quotes_a_body_for_lua() {
        let body = Some(r#"{"a":"b"}"#.to_owned());
        let request = Request {
            method: "POST",
            path: "/x".to_owned(),
            token: None,
            body,
        };
        assert!(request.to_lua().contains(r#"body = "{\"a\":\"b\"}""#));
    }
}
