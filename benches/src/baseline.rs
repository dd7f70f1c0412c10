//! benches/BASELINE.md: the last full run.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context as _;
use quartet_devstack::workspace;

use crate::bench::Bench;
use crate::plan::Measure;
use crate::report::Section;

const HEAD: &str = "\
# Baseline

Written by `cargo xtask bench`; not edited by hand. Everything in one section was measured in one run, side by side
in alternating rounds; figures are medians of the rounds, ratios are medians of the ratios within a round, and the
lowest and the highest round stand in brackets. Absolute figures say little elsewhere; compare ratios.
wrk is a closed loop: a slow answer delays the next request, so p99 is kinder than what independent visitors would see.

## Machine
";

/// Writes the sections of a full run; keeps the others as long as the machine is the same.
pub(crate) fn conclude(bench: &Bench, machine: &str, sections: &[Section]) -> anyhow::Result<()> {
    if bench.plan.quick {
        println!("A quick run: benches/BASELINE.md stays as it is.");
        return Ok(());
    }
    if cfg!(debug_assertions) {
        println!("A debug build: benches/BASELINE.md stays as it is.");
        return Ok(());
    }
    let path = workspace::root().join("benches/BASELINE.md");
    let old = fs::read_to_string(&path).unwrap_or_default();
    fs::write(&path, compose(&old, machine, sections)).context("write benches/BASELINE.md")?;
    println!("Written to benches/BASELINE.md.");
    Ok(())
}

fn compose(old: &str, machine: &str, sections: &[Section]) -> String {
    let same_machine = old.contains(machine);
    let mut text = format!("{HEAD}\n{machine}");
    for measure in Measure::ALL {
        let (begin, end) = marks(measure);
        let section = sections
            .iter()
            .find(|section| section.measure == measure)
            .map(|section| format!("{}\n", section.to_string().trim_end()))
            .or_else(|| same_machine.then(|| kept(old, &begin, &end)).flatten());
        if let Some(section) = section {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "
{begin}
{section}{end}"
            );
        }
    }
    text
}

fn kept(old: &str, begin: &str, end: &str) -> Option<String> {
    let (_, rest) = old.split_once(begin)?;
    let (section, _) = rest.split_once(end)?;
    Some(section.trim_start_matches('\n').to_owned())
}

fn marks(measure: Measure) -> (String, String) {
    (
        format!("<!-- {} -->", measure.name()),
        format!("<!-- end of {} -->", measure.name()),
    )
}

#[cfg(test)]
mod tests {
    use super::compose;
    use crate::plan::Measure;
    use crate::report::{Section, Table};

    fn section(measure: Measure, note: &str) -> Section {
        let table = Table::new(&["who"]);
        let notes = vec![note.to_owned()];
        Section {
            measure,
            title: "T",
            how: "H".to_owned(),
            table,
            notes,
        }
    }

    #[test]
    fn a_partial_run_keeps_what_was_measured_on_the_same_machine() {
        let both = [
            section(Measure::Gateway, "fast"),
            section(Measure::Sizes, "small"),
        ];
        let old = compose("", "- m1\n", &both);
        assert_eq!(compose(&old, "- m1\n", &both), old);
        let new = compose(&old, "- m1\n", &[section(Measure::Gateway, "faster")]);
        assert!(new.contains("- faster") && new.contains("- small") && !new.contains("- fast\n"));
        let elsewhere = compose(&old, "- m2\n", &[section(Measure::Gateway, "faster")]);
        assert!(!elsewhere.contains("- small"));
    }
}
