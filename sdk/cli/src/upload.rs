//! Uploads files.

use std::path::Path;

use quartet_client::{Asset, Quartet, Upload};

use crate::arguments::Files;
use crate::assets;
use crate::context::Context;
use crate::failure::Failure;
use crate::terminal::{clean, progress_bar};

/// Uploads each file, even if others fail.
pub(crate) async fn run(context: &Context, files: Files) -> Result<(), Failure> {
    let client = context.session().await?;
    let mut uploaded = Vec::new();
    let mut failed = 0;
    let mut last_code = 0;
    for path in &files.files {
        match one(&client, path, &files).await {
            Ok(asset) => uploaded.push(asset),
            Err(failure) if files.files.len() == 1 => return Err(failure),
            Err(failure) => {
                eprintln!("{}:", clean(&path.display().to_string()));
                failure.print(context.json);
                failed += 1;
                last_code = failure.code();
            }
        }
    }
    assets::show(context, &uploaded)?;
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Several {
            failed,
            of: files.files.len(),
            code: last_code,
        }),
    }
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
    let bar = progress_bar(upload.size_bytes(), &name);
    let shown = bar.clone();
    let upload = upload.on_progress(move |progress| shown.set_position(progress.sent_bytes));
    let result = client.upload(&upload).await;
    match &result {
        Ok(_) => bar.finish(),
        Err(_) => bar.abandon(),
    }
    Ok(result?)
}
