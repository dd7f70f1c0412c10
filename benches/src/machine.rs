//! The machine of the measurements, without anything that identifies it.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use procfs::{CpuInfo, Current as _, Meminfo};
use quartet_devstack::workspace;

use crate::bench::Bench;
use crate::tools::version;

/// A Markdown list.
pub(crate) fn describe(bench: &Bench) -> anyhow::Result<String> {
    let cores = bench.core_count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel")?;
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let mut lines = release.lines();
    let system = lines.find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let processors = CpuInfo::current()?;
    let unknown = "unknown";
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
        "- Processor: {}, {cores} cores; the measured server has one of them, the load, \
         the upstream and Postgres have the other{}\n\
         - Memory: {} GiB\n\
         - System: {}, Linux {}\n\
         - Programs: {}\n\
         - Profile of cargo: {}\n",
        processors.model_name(0).unwrap_or(unknown),
        if cores == 2 { "" } else { "s" },
        (Meminfo::current()?.mem_total + (1 << 29)) >> 30,
        system.unwrap_or(unknown).trim_matches('"'),
        kernel.trim(),
        programs.collect::<Vec<_>>().join(", "),
        profile.display()
    ))
}
