//! Uploading files.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use quartet_client::{Asset, Quartet, Upload};

use crate::arguments::Files;
use crate::assets;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::clean;

/// Each file, whatever becomes of the others.
pub(crate) async fn run(context: &Context, files: Files) -> Result<(), Failure> {
    let client = context.session().await?;
    let mut made = Vec::new();
    let mut failed = (0, 0);
    for path in &files.files {
        match one(&client, path, &files).await {
            Ok(asset) => made.push(asset),
            Err(failure) if files.files.len() == 1 => return Err(failure),
            Err(failure) => {
                output_name(path);
                failure.tell(context.json);
                failed = (failed.0 + 1, failure.code());
            }
        }
    }
    assets::show(context, &made)?;
    match failed {
        (0, _) => Ok(()),
        (told, code) => Err(Failure::Several {
            told,
            of: files.files.len(),
            code,
        }),
    }
}

fn output_name(path: &Path) {
    eprintln!("{}:", clean(&path.display().to_string()));
}

async fn one(client: &Quartet, path: &Path, files: &Files) -> Result<Asset, Failure> {
    let name = clean(&path.display().to_string());
    let upload = Upload::path(path).await;
    let mut upload = upload.map_err(|error| match error {
        quartet_client::Error::File(error) => Failure::Usage(format!("{name}: {error}")),
        other => other.into(),
    })?;
    if files.public {
        upload = upload.public();
    }
    if let Some(kind) = &files.content_type {
        upload = upload.content_type(kind);
    }
    let bar = bar(upload.size_bytes(), &name);
    let shown = bar.clone();
    let upload = upload.on_progress(move |progress| shown.set_position(progress.sent_bytes));
    let result = client.upload(&upload).await;
    match &result {
        Ok(_) => bar.finish(),
        Err(_) => bar.abandon(),
    }
    Ok(result?)
}

/// On a terminal; elsewhere it shows nothing.
pub(crate) fn bar(total_bytes: u64, name: &str) -> ProgressBar {
    let bar = ProgressBar::new(total_bytes);
    let style = ProgressStyle::with_template(
        "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
    );
    bar.set_style(
        style
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> "),
    );
    bar.set_message(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
