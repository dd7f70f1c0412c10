//! The container engine, by its command line client.

use std::env;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use quartet_devstack::workspace;

use super::Recipe;
use crate::cargo::{cargo, output, succeed};
use crate::git;
use crate::signals::Signals;

pub(super) struct Engine {
    client: String,
    /// Whether the client has `BuildKit`, the builder that skips unneeded stages.
    buildkit: bool,
}

impl Engine {
    /// The engine that `DOCKER_HOST` names, or that of this machine.
    pub(super) fn find(from_source: bool) -> anyhow::Result<Self> {
        let client = env::var("DOCKER").unwrap_or_else(|_| "docker".to_owned());
        let mut ask = Command::new(&client);
        let version = output(ask.args(["version", "--format", "{{.Client.Version}}"]))
            .context("images need a running Docker engine")?;
        let buildkit = has_buildkit(&client, &version);
        ensure!(
            buildkit || !from_source,
            "`{client}` {version} has no BuildKit, which --from-source needs; install its plugin \
             buildx"
        );
        Ok(Self { client, buildkit })
    }

    pub(super) fn build(
        &self,
        recipe: &Recipe,
        image: &str,
        further: &[String],
        signals: &Signals,
    ) -> anyhow::Result<()> {
        let mut command = Command::new(&self.client);
        command
            .env("DOCKER_BUILDKIT", if self.buildkit { "1" } else { "0" })
            .args(["build", "--target", recipe.target, "--tag", image])
            .arg(format!("--build-arg=BIN={}", recipe.binary))
            .arg(format!("--build-arg=REVISION={}", revision()))
            .arg("--file")
            .arg(workspace::root().join("deploy/Dockerfile"));
        for (name, value) in &recipe.arguments {
            command.arg(format!("--build-arg={name}={value}"));
        }
        if recipe.target == "prebuilt" {
            // Only copies files. Compiling is worth watching.
            command.arg("--quiet").stdout(Stdio::null());
        }
        command.args(further).arg(&recipe.context);
        succeed(command, signals)
    }

    pub(super) fn size_bytes(&self, image: &str) -> anyhow::Result<u64> {
        let text = self.ask(&["image", "inspect", "--format", "{{.Size}}", image])?;
        text.parse().with_context(|| format!("the size of {image}"))
    }

    pub(super) fn version_inside(&self, image: &str) -> anyhow::Result<String> {
        self.ask(&[
            "run",
            "--rm",
            "--read-only",
            "--network",
            "none",
            image,
            "--version",
        ])
    }

    fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        output(Command::new(&self.client).args(arguments))
    }
}

/// Everything is compiled in the builder stage of the image.
pub(super) fn recipes(binaries: &[&str], profile: &str) -> anyhow::Result<Vec<Recipe>> {
    let recipe = |&binary: &&str| {
        let id = output(&mut cargo(["pkgid", "--package", binary]))?;
        let (_, version) = id
            .rsplit_once(['@', '#'])
            .context("a package without a version")?;
        Ok(Recipe {
            binary: binary.to_owned(),
            target: "image",
            context: workspace::root(),
            arguments: vec![
                ("PROFILE", profile.to_owned()),
                ("VERSION", version.to_owned()),
            ],
        })
    };
    binaries.iter().map(recipe).collect()
}

/// Built into clients up to 22, a plugin of later ones.
fn has_buildkit(client: &str, version: &str) -> bool {
    let major = version.split('.').next().and_then(|it| it.parse().ok());
    major.is_some_and(|major: u32| major < 23)
        || output(Command::new(client).args(["buildx", "version"])).is_ok()
}

/// The commit that the images are built from, where there is one.
fn revision() -> String {
    git::output(&workspace::root(), &["rev-parse", "HEAD"]).unwrap_or_else(|_| "unknown".to_owned())
}
