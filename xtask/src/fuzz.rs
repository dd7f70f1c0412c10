use anyhow::{bail, ensure};

use crate::cargo::{build, cargo, output, status};

/// What cargo tests.
const TESTS: [&str; 4] = ["test", "--package", "quartet-gateway", "--lib"];
/// The targets are the tests of the gateway that begin with this.
const PREFIX: &str = "fuzz_";
/// Leaves the processor to whatever else is running.
const NICENESS: i32 = 19;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Processor time of all targets together
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Run only targets with this in their name
    target: Option<String>,
}

/// Runs one target after the other, at the lowest priority. Inputs that break a rule are added to the
/// corpus and reported at the end; they end neither their target nor the others.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut command = cargo(TESTS);
    command.arg("--no-run");
    build(command)?;
    let targets = targets(args.target.as_deref().unwrap_or_default())?;
    rustix::process::nice(NICENESS)?;
    let seconds = args.minutes * 60 / targets.len() as u64;
    let names = targets.join(", ");
    println!("{seconds} s of processor time for each of {names}");
    let mut command = cargo(TESTS);
    command.args(["--", "--exact", "--test-threads=1", "--nocapture"]);
    command.args(&targets);
    command.env("QUARTET_FUZZ_SECONDS", seconds.to_string());
    if !status(&mut command)?.success() {
        bail!("the findings are above and in services/gateway/tests/corpus");
    }
    Ok(())
}

fn targets(wanted: &str) -> anyhow::Result<Vec<String>> {
    let mut command = cargo(TESTS);
    command.args(["--quiet", "--", "--list", "--format", "terse"]);
    let list = output(&mut command)?;
    let is_target = |path: &&str| {
        let name = path.rsplit("::").next();
        path.contains(wanted) && name.is_some_and(|name| name.starts_with(PREFIX))
    };
    let tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
    let targets: Vec<String> = tests.filter(is_target).map(str::to_owned).collect();
    ensure!(!targets.is_empty(), "there is no such target");
    Ok(targets)
}
