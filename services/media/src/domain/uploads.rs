//! Presign an upload, then complete it.
//!
//! ```text
//! presign --> pending --complete, the object matches--> ready
//!               |     --complete, it does not---------> failed, the object is deleted
//!               `--never completed--> swept `abandoned_after_seconds` after the URL has expired
//! ```
//!
//! Invariants:
//! - The file never passes through this service. What the client declares is signed, and what the
//!   store has received is verified again: the store's own checks differ between vendors.
//! - An asset changes from pending to another state once, in the database. Concurrent completions
//!   all read the object, and one of them wins.
//! - A row exists for every URL that has been signed, so no object is out of reach of the sweep.

use std::time::Duration;

use quartet_common::problem::Rule;
use quartet_db::begin_as;
use quartet_service::idempotency::Reply;

use crate::{
    domain::{Context, assets::get, content},
    error::{Error, Mismatch},
    store::{
        Owner,
        assets::{self, AssetId, AssetRow, Status, Visibility},
        objects::{Disposition, ObjectHead, SignedRequest, Validity},
    },
};

/// A checked request to upload a file.
#[derive(Clone, Debug)]
pub(crate) struct NewUpload {
    pub(crate) file_name: String,
    pub(crate) content_type: String,
    pub(crate) size_bytes: i64,
    pub(crate) visibility: Visibility,
    pub(crate) checksum_sha256: Option<Vec<u8>>,
}

/// A pending asset and the request that uploads its file.
#[derive(Clone, Debug)]
pub(crate) struct PresignedUpload {
    pub(crate) asset: AssetRow,
    pub(crate) request: SignedRequest,
}

/// Signs an upload and stores its pending asset. Signing sends no request, so a failure or a client
/// that disconnects before the commit leaves nothing behind.
pub(crate) async fn presign(
    ctx: &Context,
    owner: &Owner,
    upload: NewUpload,
    reply: &Reply<PresignedUpload>,
) -> Result<PresignedUpload, Error> {
    let id = AssetId::new(&ctx.clock);
    let validity = Validity {
        from: ctx.clock.now(),
        ttl: Duration::from_secs(ctx.config.uploads.ttl_seconds),
    };
    let asset = AssetRow {
        id,
        status: Status::Pending,
        visibility: upload.visibility,
        object_key: format!("uploads/{}", id.uuid()),
        file_name: upload.file_name,
        content_type: upload.content_type,
        size_bytes: upload.size_bytes,
        checksum_sha256: upload.checksum_sha256,
        upload_expires_at: validity.ends_at(),
        created_at: validity.from,
        updated_at: validity.from,
    };
    let disposition = if content::is_active(&asset.content_type) {
        Disposition::Attachment
    } else {
        Disposition::Inline
    };
    let request = ctx
        .objects
        .sign_upload(&asset, disposition, validity)
        .await?;
    let presigned = PresignedUpload { asset, request };
    let mut tx = begin_as(&ctx.db, owner.as_str()).await?;
    assets::insert(&mut tx, owner, &presigned.asset).await?;
    reply.keep(&mut tx, &presigned).await?;
    tx.commit().await?;
    ctx.metrics.presigned.inc();
    Ok(presigned)
}

/// Makes a pending asset ready if the uploaded object is what was declared; otherwise marks it
/// failed and deletes the object. Completing a ready asset again changes nothing.
pub(crate) async fn complete(ctx: &Context, owner: &Owner, id: AssetId) -> Result<AssetRow, Error> {
    let asset = get(ctx, owner, id).await?;
    match asset.status {
        Status::Ready => return Ok(asset),
        Status::Failed => return Err(Error::AssetFailed),
        Status::Pending => {}
    }
    let head = ctx.objects.head(&asset).await?;
    let head = head.ok_or(Error::NotUploaded)?;
    let mismatches = compare(ctx, &asset, &head).await?;
    let status = if mismatches.is_empty() {
        Status::Ready
    } else {
        Status::Failed
    };
    let mut tx = begin_as(&ctx.db, owner.as_str()).await?;
    let settled = assets::settle(&mut tx, owner, id, status, ctx.clock.now()).await?;
    tx.commit().await?;
    if settled && status == Status::Ready {
        ctx.metrics.completed.inc();
        ctx.metrics.completed_bytes.inc_by(head.size_bytes);
    } else if settled {
        ctx.metrics.rejected.inc();
        delete_rejected(ctx, &asset).await;
    }
    if mismatches.is_empty() {
        get(ctx, owner, id).await
    } else {
        Err(Error::Mismatch(mismatches))
    }
}

/// The row is failed already, so the sweep deletes what this cannot.
async fn delete_rejected(ctx: &Context, asset: &AssetRow) {
    let deleted = ctx.objects.delete(asset.visibility, &asset.object_key);
    if let Err(error) = deleted.await {
        tracing::warn!(%error, asset_id = %asset.id, "deleting an object failed, left to the sweep");
    }
}

/// Compares the object with everything that was declared, the cheap checks first.
async fn compare(
    ctx: &Context,
    asset: &AssetRow,
    head: &ObjectHead,
) -> Result<Vec<Mismatch>, Error> {
    let mut found = Vec::new();
    if i64::try_from(head.size_bytes) != Ok(asset.size_bytes) {
        let (declared, actual) = (asset.size_bytes, head.size_bytes);
        let rule = format!("must be {declared}; the file has {actual}");
        found.push(Mismatch::Size(Rule::new("size_mismatch", rule)));
    }
    if head.content_type != asset.content_type {
        let rule = format!("must be {}, as in the presign request", asset.content_type);
        found.push(Mismatch::ContentType(Rule::new(
            "content_type_mismatch",
            rule,
        )));
    }
    if let Some(declared) = &asset.checksum_sha256 {
        let actual = match &head.checksum_sha256 {
            Some(stored) => stored.clone(),
            None => ctx.objects.checksum(asset).await?,
        };
        if actual != *declared {
            let rule = "must be the SHA-256 of the uploaded file";
            found.push(Mismatch::Checksum(Rule::new("checksum_mismatch", rule)));
        }
    }
    if head.size_bytes > 0 {
        let count = content::SAMPLE_BYTES.min(head.size_bytes);
        let sample = ctx.objects.first_bytes(asset, head, count).await?;
        if let Err(rule) = content::check_sample(&asset.content_type, &sample) {
            found.push(Mismatch::ContentType(rule));
        }
    }
    Ok(found)
}
