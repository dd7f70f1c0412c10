//! What can be done with an asset once it is there.

use std::time::Duration;

use chrono::{DateTime, Utc};
use quartet_common::clock::Clock;
use sqlx::PgPool;

use crate::{
    domain::uploads::find,
    error::Error,
    objects::Objects,
    store::{
        self,
        assets::{self, AssetId, Status, Visibility},
    },
};

/// A deleted asset's object is given this long before the sweep cares for it too.
const SWEEP_AFTER: Duration = Duration::from_mins(1);

/// Where to fetch an asset, and until when.
#[derive(Clone, Debug)]
pub(crate) struct Download {
    pub(crate) url: String,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

/// The public address of a public asset, or a signed one that ends.
pub(crate) async fn download(
    pool: &PgPool,
    objects: &Objects,
    clock: &Clock,
    ttl: Duration,
    (owner, id): (&str, AssetId),
) -> Result<Download, Error> {
    let asset = find(pool, owner, id).await?;
    match (asset.status, asset.visibility) {
        (Status::Pending, _) => Err(Error::NotReady),
        (Status::Failed, _) => Err(Error::AssetFailed),
        (Status::Ready, Visibility::Public) => Ok(Download {
            url: objects.public_url(&asset.object_key),
            expires_at: None,
        }),
        (Status::Ready, Visibility::Private) => {
            let now = clock.now();
            let signed = objects
                .sign_download(&asset.object_key, &asset.file_name, now, ttl)
                .await?;
            Ok(Download {
                url: signed.url,
                expires_at: Some(now + ttl),
            })
        }
    }
}

/// Hides the asset, then removes its object. If the store does not answer, or the process dies in
/// between, the sweep removes the object; the row goes last, so that no object is forgotten.
pub(crate) async fn delete(
    pool: &PgPool,
    objects: &Objects,
    clock: &Clock,
    (owner, id): (&str, AssetId),
) -> Result<(), Error> {
    let now = clock.now();
    let mut tx = store::begin(pool, owner).await?;
    let deleted = assets::delete(&mut tx, owner, id, now, now + SWEEP_AFTER).await?;
    tx.commit().await?;
    let (key, visibility) = deleted.ok_or(Error::AssetNotFound)?;
    let removed = async {
        objects.delete(visibility, &key).await?;
        Ok::<_, Error>(store::sweeps::finish(pool, id, now).await?)
    };
    if let Err(error) = removed.await {
        tracing::warn!(%error, asset_id = %id, "a deleted asset is left to the sweep");
    }
    Ok(())
}
