//! `cargo xtask image`: the images of the services. Programs are compiled here, with the C library
//! linked in, and packed by the target `prebuilt` of deploy/Dockerfile.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use clap::builder::PossibleValuesParser;
use quartet_devstack::workspace;

use crate::cargo::{self, STACK, cargo, command, output, packages, succeed};
use crate::git;

/// The most that an image for production may weigh.
const LIMIT_BYTES: u64 = 30_000_000;
/// The command line client; built only when it is named.
const CLIENT: &str = "quartet";
const BINARIES: [&str; 6] = [STACK[0], STACK[1], STACK[2], STACK[3], STACK[4], CLIENT];
/// The certificate authorities that Debian and its derivatives trust.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What a service may write; volumes are mounted here.
const STATE: [&str; 2] = ["clicks", "s3"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// All but the client by default
    #[arg(value_parser = PossibleValuesParser::new(BINARIES))]
    binaries: Vec<String>,
    /// How the programs are compiled
    #[arg(long, default_value = "dist", value_parser = ["dist", "release", "dev"])]
    profile: String,
    /// The images are named quartet/core:TAG and so on
    #[arg(long, default_value = "dev")]
    tag: String,
    /// For `docker build`
    #[arg(last = true)]
    engine_arguments: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut binaries: Vec<&str> = args.binaries.iter().map(String::as_str).collect();
    if binaries.is_empty() {
        binaries.extend(STACK);
    }
    let client = env::var("DOCKER").unwrap_or_else(|_| "docker".to_owned());
    output(&mut command(&client, ["version"])).context("images need a running Docker engine")?;
    let (programs, contexts) = compile(&binaries, &args.profile)?;
    let mut heavy = Vec::new();
    for binary in binaries {
        let image = format!("{}:{}", repository(binary), args.tag);
        println!("Packing {image}");
        let context = contexts.join(binary);
        lay_out(&programs.join(binary), &context)?;
        let printed = output(&mut command(programs.join(binary), ["--version"]))?;
        let version = printed.split_whitespace().nth(1);
        let version = version.context("the program prints no version")?;
        let revision = git::output(&workspace::root(), &["rev-parse", "HEAD"]);
        let revision = revision.unwrap_or_else(|_| "unknown".to_owned());
        let mut build = command(&client, ["build", "--quiet", "--target", "prebuilt"]);
        build
            .args(["--tag", &image])
            .arg(format!("--build-arg=BIN={binary}"))
            .arg(format!("--build-arg=REVISION={revision}"))
            .arg(format!("--build-arg=VERSION={version}"))
            .arg("--file")
            .arg(workspace::root().join("deploy/Dockerfile"))
            .args(&args.engine_arguments)
            .arg(context)
            .stdout(Stdio::null());
        succeed(build)?;
        // That it prints its version shows that it starts there.
        let mut start = command(&client, ["run", "--rm", "--read-only", "--network=none"]);
        let started = output(start.args([&image, "--version"]))?;
        let size = ["image", "inspect", "--format={{.Size}}", &image];
        let bytes: u64 = output(&mut command(&client, size))?.parse()?;
        println!("{image}  {}  {started}", megabytes(bytes));
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
    Ok(())
}

/// Builds the images of the whole stack for production.
pub(crate) fn build_all(tag: &str) -> anyhow::Result<()> {
    run(&Args {
        binaries: Vec::new(),
        profile: "dist".to_owned(),
        tag: tag.to_owned(),
        engine_arguments: Vec::new(),
    })
}

/// Compiles static programs; returns their directory, and one for the contexts of images.
fn compile(binaries: &[&str], profile: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    ensure!(
        cfg!(target_os = "linux"),
        "programs for Linux cannot be compiled here; use `docker build -f deploy/Dockerfile`"
    );
    // A separate directory, so that cargo does not lock out other builds of the same profile.
    let directory = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace::root().join("target"), PathBuf::from)
        .join("images");
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    println!("Compiling {} ({profile}, static)", binaries.join(", "));
    let mut build = cargo(["build", "--locked", "--profile", profile]);
    build
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(&directory)
        // With --target this applies to the programs only, not to what runs during the build.
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        // All packages are named, so that the features do not depend on what is built.
        .args(packages(STACK))
        .args(packages(
            binaries.contains(&CLIENT).then_some("quartet-cli"),
        ))
        .args(binaries.iter().flat_map(|binary| ["--bin", binary]));
    cargo::build(build)?;
    let profile = if profile == "dev" { "debug" } else { profile };
    Ok((
        directory.join(target).join(profile),
        directory.join("context"),
    ))
}

/// Lays out the directory that an image is packed from.
fn lay_out(program: &Path, context: &Path) -> anyhow::Result<()> {
    if context.exists() {
        fs::remove_dir_all(context)?;
    }
    let rootfs = context.join("rootfs");
    // Parents that COPY creates implicitly get the owner of what is copied.
    fs::create_dir_all(rootfs.join("var/lib"))?;
    fs::create_dir_all(rootfs.join("etc/ssl/certs"))?;
    for name in STATE {
        fs::create_dir_all(context.join("state").join(name))?;
    }
    fs::copy(program, rootfs.join("quartet"))
        .with_context(|| format!("copy {}", program.display()))?;
    let bundle = rootfs.join(CERTIFICATES.trim_start_matches('/'));
    fs::copy(CERTIFICATES, bundle)
        .context("images contain the certificate authorities of this machine")?;
    Ok(())
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
