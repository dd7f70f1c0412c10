//! Writing and deleting objects.

use std::sync::Arc;

use http::HeaderMap;
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
    Error, ObjectIdentifier, PutObjectInput, PutObjectOutput, StreamingBlob,
};
use s3s::{S3Request, S3Result, TrailingHeaders, s3_error};

use super::conditions::ForWrite;
use super::headers::{checksums_of, headers_of, refuse_unsupported, refuse_version, set_checksums};
use super::wire;
use crate::disk::{Bucket, Checksums, Draft, Promised, Store, Write, blocking, receive};

const DELETE_LIMIT: usize = 1000;
const CHECKSUM_PREFIX: &str = "x-amz-checksum-";

pub(super) async fn put(
    store: &Arc<Store>,
    request: S3Request<PutObjectInput>,
) -> S3Result<PutObjectOutput> {
    refuse_unsupported(&request.headers)?;
    let mut input = request.input;
    let bucket = store.bucket(&input.bucket)?;
    let headers = headers_of!(input);
    let arriving = Arriving {
        body: input.body.take(),
        length: input.content_length,
        md5: input.content_md5.take(),
        checksums: checksums_of!(input),
        algorithms: input
            .checksum_algorithm
            .iter()
            .map(|name| name.as_str().to_owned())
            .collect(),
        headers: request.headers,
        trailers: request.trailing_headers,
    };
    let (draft, promised) = arriving.receive(store).await?;
    let conditions = ForWrite {
        if_match: input.if_match.take(),
        if_none_match: input.if_none_match.take(),
    };
    let store = Arc::clone(store);
    let meta = blocking(move || {
        let sealed = draft.seal(&input.key, headers, &promised)?;
        let condition = |present: Option<&_>| conditions.check(present);
        store.put(
            &Write {
                bucket: &bucket,
                condition: &condition,
            },
            sealed,
        )
    })
    .await?;
    let mut output = PutObjectOutput {
        e_tag: Some(meta.etag()),
        size: Some(wire(meta.size)),
        ..Default::default()
    };
    output.checksum_type = set_checksums!(output, meta.checksums).map(Into::into);
    Ok(output)
}

/// A body and all that its request says about it.
pub(super) struct Arriving {
    pub(super) body: Option<StreamingBlob>,
    pub(super) length: Option<i64>,
    pub(super) md5: Option<String>,
    pub(super) checksums: Checksums,
    /// Digests to take whether or not the client names their value.
    pub(super) algorithms: Vec<String>,
    pub(super) headers: HeaderMap,
    pub(super) trailers: Option<TrailingHeaders>,
}

impl Arriving {
    /// Writes the body to a draft; gives what the content has to be compared with.
    pub(super) async fn receive(self, store: &Arc<Store>) -> S3Result<(Draft, Promised)> {
        let announced = announced_trailers(&self.headers);
        let length = self.length()?;
        let mut checksums = self.checksums;
        let mut algorithms = self.algorithms;
        algorithms.extend(checksums.algorithms().map(str::to_owned));
        algorithms.extend(announced.iter().cloned());
        let store = Arc::clone(store);
        let draft = blocking(move || store.draft(&algorithms)).await?;
        let draft = receive(draft, self.body).await?;
        for algorithm in announced {
            let name = format!("{CHECKSUM_PREFIX}{algorithm}");
            let value = self.trailers.as_ref().and_then(|trailers| {
                trailers
                    .read(|map| map.get(&name)?.to_str().ok().map(str::to_owned))
                    .flatten()
            });
            let Some(value) = value else {
                return Err(s3_error!(
                    InvalidRequest,
                    "The trailer {} was announced and did not come",
                    name
                ));
            };
            checksums.set(&algorithm, value);
        }
        Ok((
            draft,
            Promised {
                length: Some(length),
                md5: self.md5,
                checksums,
            },
        ))
    }

    /// S3 takes no body of unknown length.
    fn length(&self) -> S3Result<u64> {
        let decoded = self.headers.get("x-amz-decoded-content-length");
        let decoded = decoded.and_then(|value| value.to_str().ok()?.parse().ok());
        let stated = self.length.and_then(|length| u64::try_from(length).ok());
        decoded.or(stated).ok_or_else(|| {
            s3_error!(
                MissingContentLength,
                "You must provide the Content-Length HTTP header."
            )
        })
    }
}

/// Algorithms, in lower case, whose digests follow the body.
fn announced_trailers(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all("x-amz-trailer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| {
            name.trim()
                .to_ascii_lowercase()
                .strip_prefix(CHECKSUM_PREFIX)
                .map(str::to_owned)
        })
        .collect()
}

pub(super) async fn delete(
    store: &Arc<Store>,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<DeleteObjectOutput> {
    let input = request.input;
    refuse_version(input.version_id.as_deref())?;
    let bucket = store.bucket(&input.bucket)?;
    let conditions = ForWrite {
        if_match: input.if_match,
        if_none_match: None,
    };
    let store = Arc::clone(store);
    blocking(move || {
        let condition = |present: Option<&_>| conditions.check(present);
        store.delete(
            &Write {
                bucket: &bucket,
                condition: &condition,
            },
            &input.key,
        )
    })
    .await?;
    Ok(DeleteObjectOutput::default())
}

pub(super) async fn delete_many(
    store: &Arc<Store>,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<DeleteObjectsOutput> {
    let input = request.input;
    let bucket = store.bucket(&input.bucket)?;
    if input.delete.objects.len() > DELETE_LIMIT {
        return Err(s3_error!(
            MalformedXML,
            "At most 1000 keys can be deleted by one request"
        ));
    }
    let quiet = input.delete.quiet.unwrap_or_default();
    let store = Arc::clone(store);
    blocking(move || {
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in input.delete.objects {
            match delete_one(&store, &bucket, &object) {
                Ok(()) => {
                    deleted.push(DeletedObject {
                        key: Some(object.key),
                        ..Default::default()
                    });
                }
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(object.key),
                    message: error.message().map(str::to_owned),
                    version_id: object.version_id,
                }),
            }
        }
        Ok(DeleteObjectsOutput {
            deleted: (!quiet).then_some(deleted),
            errors: Some(errors),
            ..Default::default()
        })
    })
    .await
}

fn delete_one(store: &Store, bucket: &Bucket, object: &ObjectIdentifier) -> S3Result<()> {
    refuse_version(object.version_id.as_deref())?;
    let if_match = object.e_tag.clone().map(s3s::dto::ETagCondition::ETag);
    let conditions = ForWrite {
        if_match,
        if_none_match: None,
    };
    let condition = |present: Option<&_>| conditions.check(present);
    store.delete(
        &Write {
            bucket,
            condition: &condition,
        },
        &object.key,
    )
}
