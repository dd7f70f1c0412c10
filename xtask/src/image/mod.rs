//! The images of the services: programs compiled here, then packed by the target
//! `prebuilt` of deploy/Dockerfile; or everything done in there.

mod engine;
mod options;
mod program;

use std::process::ExitCode;

use anyhow::ensure;

use crate::signals::Signals;
use engine::{Engine, Recipe};
use options::Options;
use program::Program;

/// What an image for use in production may weigh.
const LIMIT_BYTES: u64 = 30_000_000;

pub(crate) fn run(words: &[&str], signals: &Signals) -> anyhow::Result<ExitCode> {
    let options = Options::parse(words)?;
    let engine = Engine::find(&options)?;
    let recipes = if options.from_source {
        options
            .binaries
            .iter()
            .map(|&name| Recipe::from_source(name, options.profile))
            .collect::<Result<Vec<_>, _>>()?
    } else {
        program::build(&options.binaries, options.profile, signals)?
            .iter()
            .map(Program::recipe)
            .collect::<Result<Vec<_>, _>>()?
    };
    let mut images = Vec::new();
    for recipe in &recipes {
        let image = format!("{}:{}", repository(&recipe.binary), options.tag);
        println!("Packing {image}");
        engine.build(recipe, &image, &options.engine_arguments, signals)?;
        images.push(image);
    }
    report(&engine, &images, options.profile)
}

/// Says what each image weighs and that it starts; fails when one is too heavy.
fn report(engine: &Engine, images: &[String], profile: &str) -> anyhow::Result<ExitCode> {
    let mut heavy = Vec::new();
    for image in images {
        let version = engine.version_inside(image)?;
        let bytes = engine.size_bytes(image)?;
        println!("{image}  {}  {version}", megabytes(bytes));
        if bytes > LIMIT_BYTES {
            heavy.push(image.as_str());
        }
    }
    ensure!(
        heavy.is_empty() || profile != "dist",
        "heavier than {}: {}",
        megabytes(LIMIT_BYTES),
        heavy.join(", ")
    );
    Ok(ExitCode::SUCCESS)
}

/// `quartet/core` for `quartet-core`, and `quartet/quartet` for the command line client.
fn repository(binary: &str) -> String {
    format!("quartet/{}", binary.trim_start_matches("quartet-"))
}

#[allow(clippy::cast_precision_loss)] // one decimal is shown
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
