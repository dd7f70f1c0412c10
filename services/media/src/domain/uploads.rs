//! Presign and complete: a promise, and the check that it was kept.

use std::time::Duration;

use quartet_common::{
    clock::Clock,
    problem::{FieldError, Rule},
};
use sqlx::PgPool;

use crate::{
    config::Uploads,
    domain::content,
    error::Error,
    metrics::MediaMetrics,
    objects::{ObjectHead, Objects, Promise, SignedRequest},
    store::{
        self,
        assets::{self, AssetId, AssetRow, Status, Visibility},
    },
};

/// What a client wants to upload, already checked.
#[derive(Clone, Debug)]
pub(crate) struct NewUpload {
    pub(crate) file_name: String,
    pub(crate) content_type: String,
    pub(crate) size_bytes: i64,
    pub(crate) visibility: Visibility,
    pub(crate) checksum_sha256: Option<Vec<u8>>,
}

/// What the two operations work with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Desk<'a> {
    pub(crate) pool: &'a PgPool,
    pub(crate) objects: &'a Objects,
    pub(crate) clock: &'a Clock,
    pub(crate) settings: &'a Uploads,
    pub(crate) metrics: &'a MediaMetrics,
}

/// Writes the pending asset and signs its upload. Signing needs no network: if it fails, or the
/// client goes away before the commit, no row stays behind.
pub(crate) async fn presign(
    desk: Desk<'_>,
    owner: &str,
    upload: NewUpload,
) -> Result<(AssetRow, SignedRequest), Error> {
    let id = AssetId::new(desk.clock);
    let now = desk.clock.now();
    let ttl = Duration::from_secs(desk.settings.ttl_seconds);
    let asset = AssetRow {
        id,
        status: Status::Pending,
        visibility: upload.visibility,
        object_key: format!("uploads/{}", id.uuid()),
        file_name: upload.file_name,
        content_type: upload.content_type,
        size_bytes: upload.size_bytes,
        checksum_sha256: upload.checksum_sha256,
        upload_expires_at: now + ttl,
        created_at: now,
        updated_at: now,
    };
    let promise = Promise {
        key: &asset.object_key,
        visibility: asset.visibility,
        content_type: &asset.content_type,
        size_bytes: asset.size_bytes,
        checksum_sha256: asset.checksum_sha256.as_deref(),
        attachment: content::is_active(&asset.content_type),
    };
    let signed = desk.objects.sign_upload(promise, now, ttl).await?;
    let mut tx = store::begin(desk.pool, owner).await?;
    assets::insert(&mut tx, owner, &asset).await?;
    tx.commit().await?;
    desk.metrics.presigned.inc();
    Ok((asset, signed))
}

/// Makes a pending asset ready if the uploaded object is what was promised; removes it and marks
/// the asset failed if not. Completing a ready asset again changes nothing.
pub(crate) async fn complete(desk: Desk<'_>, owner: &str, id: AssetId) -> Result<AssetRow, Error> {
    let asset = find(desk.pool, owner, id).await?;
    match asset.status {
        Status::Ready => return Ok(asset),
        Status::Failed => return Err(Error::AssetFailed),
        Status::Pending => {}
    }
    let head = desk
        .objects
        .head(asset.visibility, &asset.object_key)
        .await?;
    let head = head.ok_or(Error::NotUploaded)?;
    let broken = broken_promises(desk.objects, &asset, &head).await?;
    let status = if broken.is_empty() {
        Status::Ready
    } else {
        Status::Failed
    };
    let mut tx = store::begin(desk.pool, owner).await?;
    let settled = assets::settle(&mut tx, owner, id, status, desk.clock.now()).await?;
    tx.commit().await?;
    if settled && status == Status::Failed {
        desk.metrics.refused.inc();
        // The row is failed already: what is left of the object, the sweep removes.
        if let Err(error) = desk
            .objects
            .delete(asset.visibility, &asset.object_key)
            .await
        {
            tracing::warn!(%error, asset_id = %id, "a refused upload is left to the sweep");
        }
    } else if settled {
        desk.metrics.completed.inc();
        desk.metrics.completed_bytes.inc_by(head.size_bytes);
    }
    if broken.is_empty() {
        find(desk.pool, owner, id).await
    } else {
        Err(Error::Mismatch(broken))
    }
}

pub(crate) async fn find(pool: &PgPool, owner: &str, id: AssetId) -> Result<AssetRow, Error> {
    let mut tx = store::begin(pool, owner).await?;
    let asset = assets::by_id(&mut tx, owner, id).await?;
    tx.commit().await?;
    asset.ok_or(Error::AssetNotFound)
}

/// Compares the object with each field of the promise; the cheap checks come first.
async fn broken_promises(
    objects: &Objects,
    asset: &AssetRow,
    head: &ObjectHead,
) -> Result<Vec<FieldError>, Error> {
    let mut broken = Vec::new();
    let mut note = |pointer: &str, rule: Rule| {
        broken.push(FieldError::body(pointer, rule.code, rule.detail));
    };
    if i64::try_from(head.size_bytes) != Ok(asset.size_bytes) {
        let detail = format!(
            "must be {}; the file has {}",
            asset.size_bytes, head.size_bytes
        );
        note("/size_bytes", Rule::new("size_mismatch", detail));
    }
    if head.content_type != asset.content_type {
        let detail = format!("must be {}; the store has another", asset.content_type);
        note("/content_type", Rule::new("content_type_mismatch", detail));
    }
    if let Some(promised) = &asset.checksum_sha256 {
        let found = match &head.checksum_sha256 {
            Some(kept) => kept.clone(),
            None => {
                objects
                    .checksum(asset.visibility, &asset.object_key)
                    .await?
            }
        };
        if found != *promised {
            let detail = "must be the SHA-256 of the file; the file's is another";
            note("/checksum_sha256", Rule::new("checksum_mismatch", detail));
        }
    }
    if head.size_bytes > 0 {
        let count = content::SAMPLE_BYTES.min(head.size_bytes);
        let sample = objects
            .first_bytes(asset.visibility, &asset.object_key, &head.etag, count)
            .await?;
        if let Err(rule) = content::fits(&asset.content_type, &sample) {
            note("/content_type", rule);
        }
    }
    Ok(broken)
}
