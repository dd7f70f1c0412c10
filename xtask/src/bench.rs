use crate::cargo::{STACK, build, cargo, command, packages, succeed};
use crate::tools::target_directory;

const BENCH: &str = "quartet-bench";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How the programs are compiled; `dist` as in the images
    #[arg(long, default_value = "dist", value_parser = ["dist", "release"])]
    profile: String,
    /// Names of benchmarks, --quick; all benchmarks by default
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the optimized binaries and runs the named benchmarks, or all of them.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    println!("Building the optimized binaries ({})", args.profile);
    // All at once: alone, each would have its dependencies built again with other features.
    let mut compile = cargo(["build", "--bins", "--profile", &*args.profile]);
    compile.args(packages(STACK)).args(packages([BENCH]));
    build(compile)?;
    let program = target_directory()?.join(&args.profile).join(BENCH);
    succeed(command(program, &args.arguments))
}
