//! What a process group has used, according to /proc.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// Processor time so far and memory now, of all processes of a group.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) resident_bytes: u64,
}

impl Usage {
    /// Of the group that the process leads. Processes that have ended no longer count.
    pub(crate) fn of_group(leader: u32) -> anyhow::Result<Self> {
        let mut sum = Self::default();
        for entry in fs::read_dir("/proc")?.flatten() {
            if !entry
                .file_name()
                .as_encoded_bytes()
                .iter()
                .all(u8::is_ascii_digit)
            {
                continue;
            }
            // The process may have ended in the meantime.
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
                continue;
            };
            if let Some((group, usage)) = parse(&stat)
                && group == leader
            {
                sum.cpu += usage.cpu;
                sum.resident_bytes += usage.resident_bytes;
            }
        }
        Ok(sum)
    }
}

/// Memory of a process that is no file's: what no other process shares, and what cannot be dropped.
pub(crate) fn anonymous_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.context("no RssAnon in /proc/PID/status")? * 1024)
}

/// Process group and usage in a line of /proc/PID/stat.
fn parse(stat: &str) -> Option<(u32, Usage)> {
    // The name is in parentheses and may contain spaces; fields are counted after it.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let group = u32::try_from(number(2)?).ok()?;
    let ticks = number(11)? + number(12)?;
    let per_second = rustix::param::clock_ticks_per_second();
    let cpu = Duration::from_micros(ticks * 1_000_000 / per_second.max(1));
    let page_bytes = u64::try_from(rustix::param::page_size()).ok()?;
    Some((
        group,
        Usage {
            cpu,
            resident_bytes: number(21)? * page_bytes,
        },
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{anonymous_bytes, parse};

    #[test]
    fn this_process_has_memory_of_its_own() {
        assert!(anonymous_bytes(std::process::id()).unwrap() > 4096);
    }

    #[test]
    fn a_name_may_contain_spaces() {
        let stat = "42 (a (b) c) S 1 40 40 0 -1 4194560 100 0 0 0 200 100 0 0 20 0 3 0 5 1000 7 18";
        let (group, usage) = parse(stat).unwrap();
        assert_eq!(group, 40);
        let ticks = rustix::param::clock_ticks_per_second();
        assert_eq!(usage.cpu, Duration::from_micros(300 * 1_000_000 / ticks));
        assert_eq!(usage.resident_bytes, 7 * rustix::param::page_size() as u64);
    }
}
