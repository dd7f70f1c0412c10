//! Writes and deletes objects.

use std::sync::Arc;

use http::HeaderMap;
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, PutObjectInput, PutObjectOutput, StreamingBlob,
};
use s3s::{S3Request, S3Result, TrailingHeaders, s3_error};

use super::headers::{checksums_of, headers_of, refuse_unsupported, refuse_version, set_checksums};
use super::wire;
use crate::disk::{Checksums, Draft, Promised, Store, WriteConditions, blocking, receive};

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
        algorithms: input
            .checksum_algorithm
            .iter()
            .map(|algorithm| algorithm.as_str().to_owned())
            .collect(),
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
    set_checksums!(output, meta.checksums);
    Ok(output)
}

/// A request body with everything that the request says about it.
struct Body {
    stream: Option<StreamingBlob>,
    length: Option<i64>,
    md5: Option<String>,
    checksums: Checksums,
    /// Digests to compute even if the client does not send their value.
    algorithms: Vec<String>,
    headers: HeaderMap,
    trailers: Option<TrailingHeaders>,
}

impl Body {
    /// Writes the body to a draft; returns what the content has to be compared with.
    async fn receive(self, store: &Arc<Store>) -> S3Result<(Draft, Promised)> {
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
        let promised = Promised {
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
