//! Lists, shows, downloads and deletes assets.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, TryStreamExt as _};
use quartet_client::{Asset, AssetId, AssetStatus, Visibility};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::arguments::{self, AssetFilter, Download};
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::terminal::{clean, progress_bar};

pub(crate) async fn list(context: &Context, options: AssetFilter) -> Result<(), Failure> {
    let client = context.session().await?;
    let filter = quartet_client::AssetFilter {
        status: options.status.map(|status| match status {
            arguments::Status::Pending => AssetStatus::Pending,
            arguments::Status::Ready => AssetStatus::Ready,
            arguments::Status::Failed => AssetStatus::Failed,
        }),
        visibility: options.visibility.map(|visibility| match visibility {
            arguments::Visibility::Private => Visibility::Private,
            arguments::Visibility::Public => Visibility::Public,
        }),
        page_size: Some(i32::try_from(options.limit.clamp(1, 100)).unwrap_or(100)),
    };
    let assets = client.assets(filter).take(options.limit);
    let assets: Vec<Asset> = assets.try_collect().await?;
    show(context, &assets)
}

/// Prints assets as a table.
pub(crate) fn show(context: &Context, assets: &[Asset]) -> Result<(), Failure> {
    if context.json {
        return output::json(&assets);
    }
    let rows = assets.iter().map(|asset| {
        vec![
            asset.id.to_string(),
            asset.file_name.clone(),
            asset.content_type.clone(),
            output::size(asset.size_bytes),
            asset.visibility.to_string(),
            asset.status.to_string(),
            asset.url.clone().unwrap_or_default(),
        ]
    });
    let headings = ["ID", "NAME", "TYPE", "SIZE", "VISIBILITY", "STATUS", "URL"];
    output::table(&headings, rows.collect())
}

pub(crate) async fn get(context: &Context, id: String) -> Result<(), Failure> {
    let client = context.session().await?;
    let asset = client.asset(&AssetId(id)).await?;
    if context.json {
        return output::json(&asset);
    }
    output::record(&[
        ("id", asset.id.to_string()),
        ("name", asset.file_name),
        ("type", asset.content_type),
        ("size", format!("{} bytes", asset.size_bytes)),
        ("visibility", asset.visibility.to_string()),
        ("status", asset.status.to_string()),
        ("url", asset.url.unwrap_or_default()),
        ("SHA-256", asset.checksum_sha256.unwrap_or_default()),
        ("created", asset.created_at.to_rfc3339()),
        ("updated", asset.updated_at.to_rfc3339()),
    ])
}

pub(crate) async fn delete(context: &Context, ids: Vec<String>) -> Result<(), Failure> {
    let client = context.session().await?;
    for id in &ids {
        client.delete_asset(&AssetId(id.clone())).await?;
        if !context.json {
            output::line(&format!("deleted {}", clean(id)))?;
        }
    }
    if context.json {
        return output::json(&json!({ "deleted": ids }));
    }
    Ok(())
}

pub(crate) async fn download(context: &Context, options: Download) -> Result<(), Failure> {
    let client = context.session().await?;
    let id = AssetId(options.id);
    let asset = client.asset(&id).await?;
    if options.output.as_deref() == Some(Path::new("-")) {
        let mut chunks = client.download(&id).await?;
        while let Some(chunk) = chunks.try_next().await? {
            output::raw(&chunk)?;
        }
        return Ok(());
    }
    let target = match options.output {
        Some(path) => path,
        None => safe_file_name(&asset)?,
    };
    if target.exists() && !options.force {
        let name = target.display();
        return Err(Failure::Usage(format!(
            "{name} exists already; use --force to replace it"
        )));
    }
    let shown = clean(&target.display().to_string());
    let directory = target.parent().filter(|it| !it.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))
        .map_err(Failure::local(format!("write {shown}")))?;
    let bar = progress_bar(u64::try_from(asset.size_bytes).unwrap_or_default(), &shown);
    let mut chunks = client.download(&id).await?;
    while let Some(chunk) = chunks.try_next().await? {
        bar.inc(chunk.len() as u64);
        file.write_all(&chunk)
            .map_err(Failure::local(format!("write {shown}")))?;
    }
    file.persist(&target)
        .map_err(|error| Failure::local(format!("write {shown}"))(error.error))?;
    bar.finish();
    if context.json {
        return output::json(&json!({ "file": target, "asset": asset }));
    }
    output::line(&format!("{shown}: {} bytes", asset.size_bytes))
}

/// The asset's file name, unless it would lead out of this directory.
fn safe_file_name(asset: &Asset) -> Result<PathBuf, Failure> {
    let path = Path::new(&asset.file_name);
    match path.file_name() {
        Some(name) if name == path.as_os_str() => Ok(PathBuf::from(name)),
        _ => Err(Failure::Usage(
            "the name of the asset is not a file name; use --output".into(),
        )),
    }
}
