//! benches/BASELINE.md: the last full run.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context as _;
use clap::ValueEnum as _;
use quartet_devstack::workspace;

use crate::bench::Bench;
use crate::plan::Measure;
use crate::report::Section;

const HEAD: &str = include_str!("baseline.md");

/// Before the sections that are written by hand.
const OTHERS: &str = "<!-- others -->\n";

/// Writes the sections of a full run; keeps the others while the machine is the same.
pub(crate) fn update(
    bench: &Bench,
    machine: &str,
    sections: &[(Measure, Section)],
) -> anyhow::Result<()> {
    if bench.plan.quick || cfg!(debug_assertions) {
        println!("A quick run or a debug build: benches/BASELINE.md stays unchanged.");
        return Ok(());
    }
    let path = workspace::root().join("benches/BASELINE.md");
    let old = fs::read_to_string(&path).unwrap_or_default();
    fs::write(&path, compose(&old, machine, sections)).context("write benches/BASELINE.md")?;
    println!("Written to benches/BASELINE.md.");
    Ok(())
}

fn compose(old: &str, machine: &str, sections: &[(Measure, Section)]) -> String {
    let same_machine = old.contains(machine);
    let mut text = format!("{HEAD}\n{machine}");
    for measure in Measure::value_variants() {
        let begin = format!("<!-- {} -->", measure.name());
        let end = format!("<!-- end of {} -->", measure.name());
        let new = sections.iter().find(|(it, _)| it == measure);
        let kept = || {
            let (_, rest) = old.split_once(&begin)?;
            let (section, _) = rest.split_once(&end)?;
            same_machine.then(|| section.trim().to_owned())
        };
        if let Some(section) = new.map(|(_, it)| it.to_string()).or_else(kept) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "\n{begin}\n{}\n{end}", section.trim());
        }
    }
    // What was measured by other commands follows.
    if let Some((_, others)) = old.split_once(OTHERS) {
        text = format!("{text}\n{OTHERS}{others}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::compose;
    use crate::plan::Measure;
    use crate::report::{Section, Table};

    fn section(measure: Measure, note: &str) -> (Measure, Section) {
        let section = Section {
            text: "## T\n\nH\n".to_owned(),
            table: Table::new("who"),
            notes: vec![note.to_owned()],
        };
        (measure, section)
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
        let others = format!("{old}\n<!-- others -->\n\n## Images\n");
        assert_eq!(compose(&others, "- m1\n", &both), others);
        let elsewhere = compose(&old, "- m2\n", &[section(Measure::Gateway, "faster")]);
        assert!(!elsewhere.contains("- small"));
    }
}
