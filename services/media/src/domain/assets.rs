//! Reading, downloading and deleting assets.

use std::time::Duration;

use chrono::{DateTime, Utc};
use quartet_auth::Actor;
use quartet_db::begin_as;

use crate::{
    domain::Context,
    error::Error,
    store::{
        assets::{self, AssetId, AssetRow, Filter, ObjectsRow, Status, Visibility},
        objects::{ObjectError, Validity},
        sweeps,
    },
};

/// How long the request that deletes an asset has to delete its object before the sweep does.
const SWEEP_DELAY: Duration = Duration::from_mins(1);

/// Where to fetch an asset, and until when.
#[derive(Clone, Debug)]
pub(crate) struct Download {
    pub(crate) url: String,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

pub(crate) async fn get(ctx: &Context, actor: &Actor, id: AssetId) -> Result<AssetRow, Error> {
    let mut tx = begin_as(&ctx.db, actor.principals()).await?;
    // Nothing to commit: the rollback costs no round trip of its own.
    let asset = assets::by_id(&mut tx, actor.owner(), id).await?;
    asset.ok_or(Error::AssetNotFound)
}

/// Up to `limit` assets, newest first.
pub(crate) async fn list(
    ctx: &Context,
    actor: &Actor,
    filter: Filter,
    limit: i64,
) -> Result<Vec<AssetRow>, Error> {
    let mut tx = begin_as(&ctx.db, actor.principals()).await?;
    Ok(assets::list(&mut tx, actor.owner(), filter, limit).await?)
}

/// The public URL of a public asset, or a signed URL of a private one.
pub(crate) async fn download(ctx: &Context, actor: &Actor, id: AssetId) -> Result<Download, Error> {
    let asset = get(ctx, actor, id).await?;
    let object_key = match (asset.status, asset.object_key) {
        (Status::Failed, _) => return Err(Error::AssetFailed),
        (Status::Ready, Some(object_key)) => object_key,
        (Status::Pending | Status::Ready, _) => return Err(Error::AssetNotReady),
    };
    match asset.visibility {
        Visibility::Public => Ok(Download {
            url: ctx.objects.public_url(&object_key),
            expires_at: None,
        }),
        Visibility::Private => {
            let validity = Validity {
                from: ctx.clock.now(),
                ttl: Duration::from_secs(ctx.config.downloads.ttl_seconds),
            };
            let file_name = &asset.file_name;
            let signed = ctx.objects.sign_download(&object_key, file_name, validity);
            Ok(Download {
                url: signed.url,
                expires_at: Some(validity.ends_at()),
            })
        }
    }
}

/// Hides the asset, then deletes its objects, then its row. The row goes last: it is what the sweep
/// finds the object by when the store does not respond or the process dies in between.
pub(crate) async fn delete(ctx: &Context, actor: &Actor, id: AssetId) -> Result<(), Error> {
    let now = ctx.clock.now();
    let mut tx = begin_as(&ctx.db, actor.principals()).await?;
    let deleted = assets::delete(&mut tx, actor.owner(), id, now, now + SWEEP_DELAY).await?;
    tx.commit().await?;
    let deleted = deleted.ok_or(Error::AssetNotFound)?;
    let removed = async {
        delete_objects(ctx, &deleted).await?;
        let mut db = ctx.db.acquire().await?;
        Ok::<_, Error>(sweeps::finish_assets(&mut db, &[id], now).await?)
    };
    if let Err(error) = removed.await {
        tracing::warn!(%error, asset_id = %id, "deleting an object failed, left to the sweep");
    }
    Ok(())
}

/// Deletes everything that the object store may hold of an asset.
pub(crate) async fn delete_objects(ctx: &Context, of: &ObjectsRow) -> Result<(), ObjectError> {
    for key in &of.object_keys {
        ctx.objects.delete(of.visibility, key).await?;
    }
    for upload in of.uploads() {
        ctx.objects.delete_incoming(upload).await?;
    }
    Ok(())
}
