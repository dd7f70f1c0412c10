//! The machine of the measurements, without anything that identifies it.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use quartet_devstack::workspace;

use crate::bench::Bench;
use crate::tools::version;

/// A Markdown list.
pub(crate) fn describe(bench: &Bench) -> anyhow::Result<String> {
    let cores = bench.core_count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel")?;
    let unknown = || "unknown".to_owned();
    let processor = field("/proc/cpuinfo", "model name", ':').unwrap_or_else(unknown);
    let system = field("/etc/os-release", "PRETTY_NAME", '=').unwrap_or_else(unknown);
    let programs = [
        ("haproxy", "-v"),
        ("nginx", "-v"),
        ("caddy", "version"),
        ("rustc", "--version"),
    ];
    let programs = programs.into_iter().filter_map(|(program, argument)| {
        let version = version(program, argument)?;
        Some(format!("{program} {version}"))
    });
    let directory = workspace::profile_dir()?;
    let profile = Path::new(directory.file_name().unwrap_or_default());
    Ok(format!(
        "- Processor: {processor}, {cores} cores; the measured server has one of them, the load, \
         the upstream and Postgres have the other{}\n\
         - Memory: {}\n\
         - System: {}, Linux {}\n\
         - Programs: {}\n\
         - Profile of cargo: {}\n",
        if cores == 2 { "" } else { "s" },
        memory().unwrap_or_else(unknown),
        system.trim_matches('"'),
        kernel.trim(),
        programs.collect::<Vec<_>>().join(", "),
        profile.display()
    ))
}

fn field(file: &str, name: &str, separator: char) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    text.lines()
        .filter_map(|line| line.split_once(separator))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
}

fn memory() -> Option<String> {
    let text = field("/proc/meminfo", "MemTotal", ':')?;
    let kib: u64 = text.split(' ').next()?.parse().ok()?;
    Some(format!("{} GiB", (kib + (1 << 19)) >> 20))
}
