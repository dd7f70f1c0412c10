//! Writes objects.

use std::sync::Arc;

use http::HeaderMap;
use s3s::dto::{PutObjectInput, PutObjectOutput};
use s3s::{S3Request, S3Response, S3Result, TrailingHeaders, s3_error};

use super::Answer;
use super::headers::{checksum_name, checksums, header_map, kept, refuse_unsupported};
use crate::disk::{CHECKSUMS, Conditions, Headers, Promised, Store, blocking};

pub(super) async fn put(
    store: Arc<Store>,
    request: S3Request<PutObjectInput>,
) -> Answer<PutObjectOutput> {
    let S3Request { input, headers, .. } = request;
    refuse_unsupported(&headers)?;
    let bucket = store.bucket(&input.bucket)?;
    let kept = kept(&headers)?;
    let mut promised = Promised {
        length: length(&headers, input.content_length)?,
        md5: input.content_md5,
        checksums: checksums(&headers),
    };
    let announced = announced_trailers(&headers);
    // To be kept even if the client does not send the value.
    let asked = input.checksum_algorithm.as_ref().map(checksum_name);
    let draft = store.draft(promised.checksums.keys().chain(&announced).chain(&asked))?;
    let draft = draft.receive(input.body).await?;
    promised
        .checksums
        .extend(trailers(request.trailing_headers.as_ref(), &announced)?);
    let conditions = Conditions {
        if_match: input.if_match,
        if_none_match: input.if_none_match,
        ..Default::default()
    };
    let meta = blocking(move || {
        let sealed = draft.seal(input.key, kept, &promised)?;
        store.put(&bucket, &conditions, sealed)
    })
    .await?;
    let output = PutObjectOutput {
        e_tag: Some(meta.etag()),
        ..Default::default()
    };
    Ok(S3Response::with_headers(
        output,
        header_map(&meta.checksums),
    ))
}

/// Like S3, requires a body of known length.
fn length(headers: &HeaderMap, stated: Option<i64>) -> S3Result<u64> {
    let decoded = headers.get("x-amz-decoded-content-length");
    let decoded = decoded.and_then(|value| value.to_str().ok()?.parse().ok());
    let stated = stated.and_then(|length| u64::try_from(length).ok());
    decoded
        .or(stated)
        .ok_or_else(|| s3_error!(MissingContentLength, "Content-Length is required"))
}

/// The digests that follow the body.
fn announced_trailers(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all("x-amz-trailer").iter();
    let names = values.filter_map(|value| value.to_str().ok());
    names
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| CHECKSUMS.contains(&name.as_str()))
        .collect()
}

fn trailers(sent: Option<&TrailingHeaders>, announced: &[String]) -> S3Result<Headers> {
    let sent = sent.and_then(|it| it.read(checksums)).unwrap_or_default();
    match announced.iter().find(|name| !sent.contains_key(*name)) {
        Some(name) => Err(s3_error!(InvalidRequest, "The trailer {} is missing", name)),
        None => Ok(sent),
    }
}
