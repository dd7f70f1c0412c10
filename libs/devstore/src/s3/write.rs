//! Writes and deletes objects.

use std::sync::Arc;

use http::HeaderMap;
use s3s::dto::{
    ChecksumAlgorithm, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
    DeleteObjectsOutput, DeletedObject, ETagCondition, Error, ObjectIdentifier, PostObjectInput,
    PostObjectOutput, PutObjectInput, PutObjectOutput, StreamingBlob,
};
use s3s::{S3Request, S3Result, TrailingHeaders, s3_error};

use super::headers::{checksums_of, headers_of, refuse_unsupported, refuse_version, set_checksums};
use super::wire;
use crate::disk::{
    Bucket, Checksums, DeclaredContent, Draft, Store, WriteConditions, blocking, receive,
};

const DELETE_LIMIT: usize = 1000;
const CHECKSUM_PREFIX: &str = "x-amz-checksum-";

pub(super) async fn put(
    store: Arc<Store>,
    request: S3Request<PutObjectInput>,
) -> S3Result<PutObjectOutput> {
    refuse_unsupported(&request.headers)?;
    let mut input = request.input;
    let bucket = store.bucket(&input.bucket)?;
    let headers = headers_of!(input);
    let body = Body {
        stream: input.body.take(),
        length: input.content_length,
        md5: input.content_md5.take(),
        checksums: checksums_of!(input),
        algorithms: name_of(input.checksum_algorithm).into_iter().collect(),
        headers: request.headers,
        trailers: request.trailing_headers,
    };
    let (draft, promised) = body.receive(&store).await?;
    let conditions = WriteConditions {
        if_match: input.if_match,
        if_none_match: input.if_none_match,
    };
    let meta = blocking(move || {
        let sealed = draft.seal(&input.key, headers, &promised)?;
        store.put(&bucket, &conditions, sealed)
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

/// Uploads by HTML form do not exist in R2 either.
pub(super) fn post(_: &Store, _: PostObjectInput) -> S3Result<PostObjectOutput> {
    Err(s3_error!(
        NotImplemented,
        "Uploads by form are not supported"
    ))
}

pub(super) fn name_of(algorithm: Option<ChecksumAlgorithm>) -> Option<String> {
    algorithm.map(|algorithm| algorithm.as_str().to_owned())
}

/// A request body with everything that the request says about it.
pub(super) struct Body {
    pub(super) stream: Option<StreamingBlob>,
    pub(super) length: Option<i64>,
    pub(super) md5: Option<String>,
    pub(super) checksums: Checksums,
    /// Digests to compute even if the client does not send their value.
    pub(super) algorithms: Vec<String>,
    pub(super) headers: HeaderMap,
    pub(super) trailers: Option<TrailingHeaders>,
}

impl Body {
    /// Writes the body to a draft; returns what the content has to be compared with.
    pub(super) async fn receive(self, store: &Arc<Store>) -> S3Result<(Draft, DeclaredContent)> {
        let announced = announced_trailers(&self.headers);
        let length = self.length()?;
        let mut checksums = self.checksums;
        let mut algorithms = self.algorithms;
        algorithms.extend(checksums.algorithms());
        algorithms.extend(announced.iter().cloned());
        let store = Arc::clone(store);
        let draft = blocking(move || store.draft(&algorithms)).await?;
        let draft = receive(draft, self.stream).await?;
        for algorithm in announced {
            let name = format!("{CHECKSUM_PREFIX}{algorithm}");
            let read = |map: &HeaderMap| map.get(&name)?.to_str().ok().map(str::to_owned);
            let trailers = self.trailers.as_ref();
            let Some(digest) = trailers.and_then(|it| it.read(read).flatten()) else {
                return Err(s3_error!(InvalidRequest, "The trailer {} is missing", name));
            };
            checksums.set(&algorithm, digest);
        }
        let promised = DeclaredContent {
            length: Some(length),
            md5: self.md5,
            checksums,
        };
        Ok((draft, promised))
    }

    /// Like S3, requires a body of known length.
    fn length(&self) -> S3Result<u64> {
        let decoded = self.headers.get("x-amz-decoded-content-length");
        let decoded = decoded.and_then(|value| value.to_str().ok()?.parse().ok());
        let stated = self.length.and_then(|length| u64::try_from(length).ok());
        decoded
            .or(stated)
            .ok_or_else(|| s3_error!(MissingContentLength, "Content-Length is required"))
    }
}

/// Algorithms, in lower case, whose digests follow the body.
fn announced_trailers(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all("x-amz-trailer").iter();
    let names = values.filter_map(|value| value.to_str().ok());
    names
        .flat_map(|value| value.split(','))
        .filter_map(|name| {
            let name = name.trim().to_ascii_lowercase();
            name.strip_prefix(CHECKSUM_PREFIX).map(str::to_owned)
        })
        .collect()
}

pub(super) async fn delete(
    store: Arc<Store>,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<DeleteObjectOutput> {
    let input = request.input;
    refuse_version(input.version_id.as_deref())?;
    let bucket = store.bucket(&input.bucket)?;
    let conditions = WriteConditions {
        if_match: input.if_match,
        if_none_match: None,
    };
    blocking(move || store.delete(&bucket, &conditions, &input.key)).await?;
    Ok(DeleteObjectOutput::default())
}

pub(super) async fn delete_many(
    store: Arc<Store>,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<DeleteObjectsOutput> {
    let input = request.input;
    let bucket = store.bucket(&input.bucket)?;
    if input.delete.objects.len() > DELETE_LIMIT {
        return Err(s3_error!(
            MalformedXML,
            "One request can delete at most 1000 keys"
        ));
    }
    let quiet = input.delete.quiet.unwrap_or_default();
    blocking(move || {
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in input.delete.objects {
            match delete_one(&store, &bucket, &object) {
                Ok(()) => deleted.push(DeletedObject {
                    key: Some(object.key),
                    ..Default::default()
                }),
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
    let conditions = WriteConditions {
        if_match: object.e_tag.clone().map(ETagCondition::ETag),
        if_none_match: None,
    };
    store.delete(bucket, &conditions, &object.key)
}
