//! The container engine, by its command line client.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use quartet_devstack::workspace;

use super::options::Options;
use crate::cargo::succeed;
use crate::signals::Signals;

/// What `docker build` is told about one image.
pub(crate) struct Recipe {
    pub(crate) binary: String,
    /// The stage of deploy/Dockerfile.
    pub(crate) target: &'static str,
    pub(crate) context: PathBuf,
    pub(crate) arguments: Vec<(&'static str, String)>,
}

impl Recipe {
    /// Everything is compiled in the image's own builder.
    pub(crate) fn from_source(binary: &str, profile: &str) -> anyhow::Result<Self> {
        Ok(Self {
            binary: binary.to_owned(),
            target: "image",
            context: workspace::root(),
            arguments: vec![
                ("PROFILE", profile.to_owned()),
                ("VERSION", version_in_manifest(binary)?),
            ],
        })
    }
}

pub(crate) struct Engine {
    client: String,
    /// Whether the client can ask for `BuildKit`, the builder that skips unneeded stages.
    buildkit: bool,
}

impl Engine {
    /// The engine that `DOCKER_HOST` names, or the machine's own.
    pub(crate) fn find(options: &Options<'_>) -> anyhow::Result<Self> {
        let client = env::var("DOCKER").unwrap_or_else(|_| "docker".to_owned());
        let answer = Command::new(&client)
            .args(["version", "--format", "{{.Client.Version}}"])
            .output()
            .with_context(|| format!("there is no `{client}` here; images need a Docker engine"))?;
        if !answer.status.success() {
            bail!(
                "no container engine answers at {}: {}",
                env::var("DOCKER_HOST").unwrap_or_else(|_| "its usual place".to_owned()),
                String::from_utf8_lossy(&answer.stderr).trim()
            );
        }
        let version = String::from_utf8_lossy(&answer.stdout).into_owned();
        let buildkit = has_buildkit(&client, &version);
        ensure!(
            buildkit || !options.from_source,
            "`{client}` {} has no BuildKit, which --from-source needs; install its plugin buildx",
            version.trim()
        );
        Ok(Self { client, buildkit })
    }

    pub(crate) fn build(
        &self,
        recipe: &Recipe,
        image: &str,
        further: &[&str],
        signals: &Signals,
    ) -> anyhow::Result<()> {
        let mut command = Command::new(&self.client);
        command
            .env("DOCKER_BUILDKIT", if self.buildkit { "1" } else { "0" })
            .args(["build", "--target", recipe.target])
            .args(["--tag", image])
            .args(["--build-arg", &format!("BIN={}", recipe.binary)])
            .args(["--build-arg", &format!("REVISION={}", revision())])
            .arg("--file")
            .arg(workspace::root().join("deploy/Dockerfile"));
        for (name, value) in &recipe.arguments {
            command.args(["--build-arg", &format!("{name}={value}")]);
        }
        if recipe.target == "prebuilt" {
            // Copies, which are over at once. Compiling is worth watching.
            command.arg("--quiet").stdout(Stdio::null());
        }
        command.args(further).arg(&recipe.context);
        succeed(command, signals)
    }

    pub(crate) fn size_bytes(&self, image: &str) -> anyhow::Result<u64> {
        let text = self.ask(&["image", "inspect", "--format", "{{.Size}}", image])?;
        text.parse().with_context(|| format!("the size of {image}"))
    }

    /// What the program in the image says about itself, which shows that it starts there.
    pub(crate) fn version_inside(&self, image: &str) -> anyhow::Result<String> {
        let run = ["run", "--rm", "--read-only", "--network", "none", image];
        self.ask(&[&run[..], &["--version"]].concat())
    }

    fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.client).args(arguments).output()?;
        ensure!(
            output.status.success(),
            "{} {}: {}",
            self.client,
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// Clients up to 22 have it built in; later ones bring it by a plugin.
fn has_buildkit(client: &str, version: &str) -> bool {
    let major = version
        .split('.')
        .next()
        .and_then(|it| it.trim().parse().ok());
    major.is_some_and(|major: u32| major < 23)
        || Command::new(client)
            .args(["buildx", "version"])
            .output()
            .is_ok_and(|output| output.status.success())
}

/// The commit that the images are made from, where there is one.
fn revision() -> String {
    Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(workspace::root())
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map_or_else(
            || "unknown".to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
}

/// The version of a package, as cargo knows it.
fn version_in_manifest(package: &str) -> anyhow::Result<String> {
    let output = crate::cargo::cargo(["pkgid", "--package", package]).output()?;
    let id = String::from_utf8_lossy(&output.stdout);
    let (_, version) = id
        .trim()
        .rsplit_once(['@', '#'])
        .with_context(|| format!("cargo knows no version of {package}"))?;
    Ok(version.to_owned())
}
