//! What a process group has used, according to /proc.

use std::time::Duration;

use anyhow::Context as _;
use procfs::process::{Process, all_processes};

use crate::load::count;

/// Processor time so far and memory now, of all processes of a group.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) resident_mb: f64,
}

impl Usage {
    /// Of the group that the process leads. Processes that have ended no longer count.
    pub(crate) fn of_group(leader: u32) -> anyhow::Result<Self> {
        let leader = i32::try_from(leader)?;
        let mut sum = Self::default();
        // A process may have ended in the meantime.
        let stats = all_processes()?.filter_map(|process| process.ok()?.stat().ok());
        for stat in stats.filter(|stat| stat.pgrp == leader) {
            let ticks = stat.utime + stat.stime;
            sum.cpu += Duration::from_micros(ticks * 1_000_000 / procfs::ticks_per_second());
            sum.resident_mb += count(stat.rss * procfs::page_size()) / 1e6;
        }
        Ok(sum)
    }
}

/// Memory of a process that is no file's: what no other process shares, and what cannot be dropped.
pub(crate) fn anonymous_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = Process::new(i32::try_from(pid)?)?.status()?;
    Ok(status.rssanon.context("no RssAnon in /proc/PID/status")? * 1024)
}

#[cfg(test)]
mod tests {
    use super::{Usage, anonymous_bytes, count};

    #[test]
    fn this_process_uses_memory_of_its_own() {
        let group = rustix::process::getpgrp().as_raw_nonzero().get();
        let usage = Usage::of_group(u32::try_from(group).unwrap()).unwrap();
        let anonymous = anonymous_bytes(std::process::id()).unwrap();
        assert!(4096 < anonymous && count(anonymous) / 1e6 < usage.resident_mb);
    }
}
