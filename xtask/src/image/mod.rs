//! `cargo xtask image`: the images of the services. Programs are compiled here and packed by the
//! target `prebuilt` of deploy/Dockerfile, or everything happens in there (`--from-source`).

mod engine;
mod program;

use std::process::ExitCode;

use anyhow::ensure;
use clap::builder::PossibleValuesParser;

use crate::cargo::STACK;
use crate::signals::Signals;
use engine::Engine;

/// The most that an image for production may weigh.
const LIMIT_BYTES: u64 = 30_000_000;
/// The command line client; built only when it is named.
const CLIENT: &str = "quartet";
const BINARIES: [&str; 6] = [STACK[0], STACK[1], STACK[2], STACK[3], STACK[4], CLIENT];
const PROFILES: [&str; 3] = ["dist", "release", "dev"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// All but the client by default
    #[arg(value_parser = PossibleValuesParser::new(BINARIES))]
    binaries: Vec<String>,
    /// How the programs are compiled
    #[arg(long, default_value = "dist", value_parser = PossibleValuesParser::new(PROFILES))]
    profile: String,
    /// The images are named quartet/core:TAG and so on
    #[arg(long, default_value = "dev")]
    tag: String,
    /// Compile inside the builder image
    #[arg(long)]
    from_source: bool,
    /// For `docker build`
    #[arg(last = true)]
    engine_arguments: Vec<String>,
}

/// What `docker build` needs to know about one image.
struct Recipe {
    binary: String,
    /// The stage of deploy/Dockerfile.
    target: &'static str,
    context: std::path::PathBuf,
    arguments: Vec<(&'static str, String)>,
}

pub(crate) fn run(args: &Args, signals: &Signals) -> anyhow::Result<ExitCode> {
    let binaries: Vec<&str> = if args.binaries.is_empty() {
        STACK.to_vec()
    } else {
        args.binaries.iter().map(String::as_str).collect()
    };
    ensure!(
        !(args.from_source && binaries.contains(&CLIENT)),
        "`{CLIENT}` cannot be built with --from-source"
    );
    let engine = Engine::find(args.from_source)?;
    let recipes = if args.from_source {
        engine::recipes(&binaries, &args.profile)?
    } else {
        program::build(&binaries, &args.profile, signals)?
    };
    let mut heavy = Vec::new();
    for recipe in &recipes {
        let image = format!("{}:{}", repository(&recipe.binary), args.tag);
        println!("Packing {image}");
        engine.build(recipe, &image, &args.engine_arguments, signals)?;
        // That it prints its version shows that it starts there.
        let version = engine.version_inside(&image)?;
        let bytes = engine.size_bytes(&image)?;
        println!("{image}  {}  {version}", megabytes(bytes));
        if bytes > LIMIT_BYTES {
            heavy.push(image);
        }
    }
    ensure!(
        heavy.is_empty() || args.profile != "dist",
        "heavier than {}: {}",
        megabytes(LIMIT_BYTES),
        heavy.join(", ")
    );
    Ok(ExitCode::SUCCESS)
}

/// Builds the images of the whole stack for production.
pub(crate) fn build_all(tag: &str, signals: &Signals) -> anyhow::Result<()> {
    let args = Args {
        binaries: Vec::new(),
        profile: PROFILES[0].to_owned(),
        tag: tag.to_owned(),
        from_source: false,
        engine_arguments: Vec::new(),
    };
    run(&args, signals).map(drop)
}

/// `quartet/core` for `quartet-core`, and `quartet/quartet` for the command line client.
fn repository(binary: &str) -> String {
    format!("quartet/{}", binary.trim_start_matches("quartet-"))
}

#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::{megabytes, repository};

    #[test]
    fn images_are_named_after_the_service() {
        assert_eq!(repository("quartet-core"), "quartet/core");
        assert_eq!(repository("quartet"), "quartet/quartet");
    }

    #[test]
    fn sizes_are_in_millions_of_bytes() {
        assert_eq!(megabytes(29_960_000), "30.0 MB");
    }
}
