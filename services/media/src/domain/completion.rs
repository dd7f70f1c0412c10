//! Completing an upload: verify it, copy it to its final place, delete it.
//!
//! ```text
//! incoming/UPLOAD (private) --verify--> matches: note the key, copy to uploads/VERSION-FILE --> ready
//!                                       differs: failed; in both cases, delete incoming/UPLOAD
//! ```
//!
//! Invariants:
//! - Clients can write to `incoming/UPLOAD` only, which no one can read. What is public was verified:
//!   the copy names the `ETag` of what was verified, so a file that is replaced in between is
//!   verified again.
//! - An asset changes from pending to another state once, in the database, where the key of the copy
//!   becomes that of the version.
//! - A key is that of one file, named by its `ETag`. Otherwise a replica that has verified another
//!   file, uploaded once the first one was accepted, would replace what is served.
//! - A crash after the copy leaves a pending asset, whose retry or sweep finds the copy by its row.
//!   The row stays while any replica may copy (`completing_until`), even if the asset is deleted; only
//!   time ends that, since one replica does not know of the copies of another.
//! - A version is inserted in the statement that makes its asset ready, and never changes.
//! - Whatever is uploaded to `incoming/UPLOAD` afterwards is deleted by the sweep once the URL is dead.

use std::time::Duration;

use quartet_auth::Actor;
use quartet_common::problem::Rule;
use quartet_db::begin_as;

use crate::{
    domain::{Context, assets::get, content},
    error::{Error, Mismatch},
    store::{
        assets::{AssetId, AssetRow, Status},
        objects::{Destination, ObjectHead},
        uploads::{self, UploadRow},
    },
};

/// How often a file may be replaced while it is verified.
const MAX_ATTEMPTS: usize = 3;

/// Makes a pending asset ready if the uploaded file is what was declared; otherwise marks it failed.
/// Completing a ready asset again changes nothing.
pub(crate) async fn complete(ctx: &Context, actor: &Actor, id: AssetId) -> Result<AssetRow, Error> {
    let asset = get(ctx, actor, id).await?;
    match asset.status {
        Status::Ready => Ok(asset),
        Status::Failed => Err(Error::AssetFailed),
        Status::Pending => {
            let owner = actor.owner().clone();
            let (owned, actor) = (ctx.clone(), actor.clone());
            let verify = || async move { Box::pin(verify(&owned, &actor, id)).await };
            ctx.verifications.join(id, owner, verify).await
        }
    }
}

async fn verify(ctx: &Context, actor: &Actor, id: AssetId) -> Result<AssetRow, Error> {
    let limit = Duration::from_secs(ctx.config.uploads.verification_timeout_seconds);
    let mut tx = begin_as(&ctx.db, actor.principals()).await?;
    // A copy may begin at the very end of the verification, and take as long.
    let until = ctx.clock.now() + limit + limit;
    let held = uploads::hold(&mut tx, actor.owner(), id, until).await?;
    tx.commit().await?;
    let Some(upload) = held else {
        return settled(ctx, actor, id).await;
    };
    let verified = tokio::time::timeout(limit, attempts(ctx, actor, &upload));
    verified.await.map_err(|_| Error::VerificationEnded)?
}

async fn attempts(ctx: &Context, actor: &Actor, upload: &UploadRow) -> Result<AssetRow, Error> {
    for _ in 0..MAX_ATTEMPTS {
        let Some(head) = ctx.objects.head_incoming(upload.id).await? else {
            // Perhaps another replica has just completed it.
            return settled(ctx, actor, upload.asset_id).await;
        };
        let Some(mismatches) = compare(ctx, upload, &head).await? else {
            continue;
        };
        if !mismatches.is_empty() {
            return reject(ctx, actor, upload, mismatches).await;
        }
        let key = upload.copy_key(&head.etag);
        if !note_copy(ctx, actor, upload, &key).await? {
            return match settled(ctx, actor, upload.asset_id).await {
                Err(Error::NotUploaded) => Err(Error::TooManyFiles),
                settled => settled,
            };
        }
        let copy = Destination {
            key: &key,
            disposition: content::disposition(&upload.content_type),
            time_limit: Duration::from_secs(ctx.config.uploads.verification_timeout_seconds),
        };
        if ctx.objects.publish(upload, &head, &copy).await? {
            return accept(ctx, actor, upload, &copy).await;
        }
    }
    Err(Error::VerificationEnded)
}

/// Before the copy, so that the sweep finds it. `false` when the file is not to be copied.
async fn note_copy(
    ctx: &Context,
    actor: &Actor,
    upload: &UploadRow,
    key: &str,
) -> Result<bool, Error> {
    let mut tx = begin_as(&ctx.db, actor.principals()).await?;
    let noted = uploads::note_copy(&mut tx, actor.owner(), upload, key).await?;
    tx.commit().await?;
    Ok(noted)
}

/// What a completed asset has become; for one that is pending, no file has arrived.
async fn settled(ctx: &Context, actor: &Actor, id: AssetId) -> Result<AssetRow, Error> {
    let asset = get(ctx, actor, id).await?;
    match asset.status {
        Status::Ready => Ok(asset),
        Status::Failed => Err(Error::AssetFailed),
        Status::Pending => Err(Error::NotUploaded),
    }
}

async fn accept(
    ctx: &Context,
    actor: &Actor,
    upload: &UploadRow,
    copy: &Destination<'_>,
) -> Result<AssetRow, Error> {
    let (owner, now) = (actor.owner(), ctx.clock.now());
    let mut tx = begin_as(&ctx.db, actor.principals()).await?;
    let accepted = uploads::accept(&mut tx, owner, upload, copy.key, now).await?;
    tx.commit().await?;
    if accepted {
        let size_bytes = u64::try_from(upload.size_bytes).unwrap_or(0);
        ctx.metrics.completed.inc();
        ctx.metrics.completed_bytes.inc_by(size_bytes);
        delete_incoming(ctx, upload).await;
    }
    let settled = settled(ctx, actor, upload.asset_id).await;
    let is_served = match &settled {
        Ok(asset) => asset.object_key.as_deref() == Some(copy.key),
        // Deleted or rejected while the file was being copied.
        Err(error) => !matches!(error, Error::AssetNotFound | Error::AssetFailed),
    };
    if !is_served {
        ctx.objects.delete(upload.visibility, copy.key).await?;
    }
    settled
}

async fn reject(
    ctx: &Context,
    actor: &Actor,
    upload: &UploadRow,
    mismatches: Vec<Mismatch>,
) -> Result<AssetRow, Error> {
    let mut tx = begin_as(&ctx.db, actor.principals()).await?;
    let rejected = uploads::reject(&mut tx, actor.owner(), upload, ctx.clock.now()).await?;
    tx.commit().await?;
    if rejected {
        ctx.metrics.rejected.inc();
        delete_incoming(ctx, upload).await;
    }
    Err(Error::Mismatch(mismatches))
}

/// The sweep deletes what this cannot.
async fn delete_incoming(ctx: &Context, upload: &UploadRow) {
    if let Err(error) = ctx.objects.delete_incoming(upload.id).await {
        tracing::warn!(%error, asset_id = %upload.asset_id, "deleting an object failed, left to the sweep");
    }
}

/// Compares the file with everything that was declared, the cheap checks first. `None` when it has
/// been replaced meanwhile.
async fn compare(
    ctx: &Context,
    upload: &UploadRow,
    head: &ObjectHead,
) -> Result<Option<Vec<Mismatch>>, Error> {
    let mut found = Vec::new();
    if i64::try_from(head.size_bytes) != Ok(upload.size_bytes) {
        let (declared, actual) = (upload.size_bytes, head.size_bytes);
        let rule = format!("must be {declared}; the file has {actual}");
        found.push(Mismatch::Size(Rule::new("size_mismatch", rule)));
    }
    if content::essence(&head.content_type) != upload.content_type {
        let rule = format!("must be {}, as in the presign request", upload.content_type);
        let rule = Rule::new("content_type_mismatch", rule);
        found.push(Mismatch::ContentType(rule));
    }
    if head.size_bytes > 0 {
        let count = content::SAMPLE_BYTES.min(head.size_bytes);
        let Some(sample) = ctx.objects.first_bytes(upload.id, head, count).await? else {
            return Ok(None);
        };
        if let Err(rule) = content::check_sample(&upload.content_type, &sample) {
            found.push(Mismatch::ContentType(rule));
        }
    }
    let Some(declared) = &upload.checksum_sha256 else {
        return Ok(Some(found));
    };
    let actual = match &head.checksum_sha256 {
        Some(stored) => Some(stored.clone()),
        // A file that is rejected anyway is not worth reading.
        None if !found.is_empty() => return Ok(Some(found)),
        None => {
            let _turn = ctx.verifications.whole_read().await;
            ctx.objects.checksum(upload.id, head).await?
        }
    };
    let Some(actual) = actual else {
        return Ok(None);
    };
    if actual != *declared {
        let rule = "must be the SHA-256 of the uploaded file";
        found.push(Mismatch::Checksum(Rule::new("checksum_mismatch", rule)));
    }
    Ok(Some(found))
}
