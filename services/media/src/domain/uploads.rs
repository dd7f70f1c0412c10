//! Presigning an upload.
//!
//! ```text
//! presign --> pending --complete, the file matches--> ready
//!               |     --complete, it does not-------> failed
//!               `--never completed--> swept `abandoned_after_seconds` after the URL has expired
//! ```
//!
//! Invariants:
//! - The file never passes through this service, and lands where no one can read it. What the client
//!   declares is signed, and what the store has received is verified again (`completion`): the
//!   store's own checks differ between vendors.
//! - A row exists for every URL that has been signed, so no object is out of reach of the sweep.

use std::time::Duration;

use chrono::{DateTime, Utc};
use quartet_auth::Actor;
use quartet_service::idempotency::Reply;

use crate::{
    domain::{Context, content},
    error::Error,
    store::{
        assets::{AssetId, AssetRow, Status, Visibility},
        ids::{UploadId, VersionId},
        objects::{SignedRequest, Validity},
        uploads::{self, UploadRow},
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
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) request: SignedRequest,
}

/// Signs an upload and stores its pending asset. Signing sends no request, so a failure or a client
/// that disconnects before the commit leaves nothing behind.
pub(crate) async fn presign(
    ctx: &Context,
    actor: &Actor,
    upload: NewUpload,
    reply: &Reply<PresignedUpload>,
) -> Result<PresignedUpload, Error> {
    let version_id = VersionId::new(&ctx.clock);
    let validity = Validity {
        from: ctx.clock.now(),
        ttl: Duration::from_secs(ctx.config.uploads.ttl_seconds),
    };
    let asset = AssetRow {
        id: AssetId::new(&ctx.clock),
        status: Status::Pending,
        visibility: upload.visibility,
        file_name: upload.file_name,
        object_key: None,
        content_type: upload.content_type,
        size_bytes: upload.size_bytes,
        checksum_sha256: upload.checksum_sha256,
        created_at: validity.from,
        updated_at: validity.from,
    };
    let upload = UploadRow {
        id: UploadId::new(&ctx.clock),
        asset_id: asset.id,
        visibility: asset.visibility,
        version_id,
        object_key: version_id.object_key(),
        content_type: asset.content_type.clone(),
        size_bytes: asset.size_bytes,
        checksum_sha256: asset.checksum_sha256.clone(),
        expires_at: validity.ends_at(),
    };
    let disposition = content::disposition(&upload.content_type);
    let presigned = PresignedUpload {
        asset,
        expires_at: upload.expires_at,
        request: ctx.objects.sign_upload(&upload, disposition, validity),
    };
    let mut db = reply.begin(&ctx.db).await?;
    // An upload that starts just before the URL expires may take as long as one is waited for.
    let late = Duration::from_secs(ctx.config.uploads.abandoned_after_seconds);
    let incoming_until = validity.ends_at() + late;
    uploads::insert(&mut db, actor, &presigned.asset, &upload, incoming_until).await?;
    reply.keep(&mut db, &presigned).await?;
    db.commit().await?;
    ctx.metrics.presigned.inc();
    Ok(presigned)
}
