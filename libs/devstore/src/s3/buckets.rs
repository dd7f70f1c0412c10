//! Buckets and their CORS rules.

use std::io;
use std::sync::Arc;

use s3s::dto::{
    Bucket, CORSRule, CreateBucketInput, CreateBucketOutput, DeleteBucketCorsInput,
    DeleteBucketCorsOutput, DeleteBucketInput, DeleteBucketOutput, GetBucketCorsInput,
    GetBucketCorsOutput, GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput,
    HeadBucketOutput, ListBucketsInput, ListBucketsOutput, PutBucketCorsInput, PutBucketCorsOutput,
};
use s3s::{S3Error, S3Request, S3Result, s3_error};

use crate::disk::{Store, blocking, timestamp};

const CORS_RULES: std::ops::RangeInclusive<usize> = 1..=100;
const CORS_METHODS: [&str; 5] = ["GET", "HEAD", "PUT", "POST", "DELETE"];

pub(super) async fn create(
    store: Arc<Store>,
    request: S3Request<CreateBucketInput>,
) -> S3Result<CreateBucketOutput> {
    let input = request.input;
    let location = format!("/{}", input.bucket);
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidInput => s3_error!(error, InvalidBucketName, "The name is not valid"),
        _ => S3Error::internal_error(error),
    };
    if !blocking(move || store.ensure_bucket(&input.bucket).map_err(refused)).await? {
        return Err(s3_error!(
            BucketAlreadyOwnedByYou,
            "The bucket exists already"
        ));
    }
    Ok(CreateBucketOutput {
        location: Some(location),
    })
}

pub(super) async fn delete(
    store: Arc<Store>,
    request: S3Request<DeleteBucketInput>,
) -> S3Result<DeleteBucketOutput> {
    let input = request.input;
    blocking(move || store.delete_bucket(&input.bucket)).await?;
    Ok(DeleteBucketOutput {})
}

pub(super) fn head(store: &Store, input: HeadBucketInput) -> S3Result<HeadBucketOutput> {
    store.bucket(&input.bucket)?;
    Ok(HeadBucketOutput {
        bucket_region: Some("auto".to_owned()),
        ..Default::default()
    })
}

pub(super) fn location(
    store: &Store,
    input: GetBucketLocationInput,
) -> S3Result<GetBucketLocationOutput> {
    store.bucket(&input.bucket)?;
    Ok(GetBucketLocationOutput::default())
}

#[expect(clippy::unnecessary_wraps, reason = "an operation like the others")]
pub(super) fn list(store: &Store, input: ListBucketsInput) -> S3Result<ListBucketsOutput> {
    let prefix = input.prefix;
    let buckets = store
        .list_buckets()
        .iter()
        .filter(|bucket| {
            bucket
                .name
                .starts_with(prefix.as_deref().unwrap_or_default())
        })
        .map(|bucket| Bucket {
            creation_date: Some(timestamp(bucket.created_ms)),
            name: Some(bucket.name.clone()),
            ..Default::default()
        })
        .collect();
    Ok(ListBucketsOutput {
        buckets: Some(buckets),
        prefix,
        ..Default::default()
    })
}

pub(super) fn get_cors(store: &Store, input: GetBucketCorsInput) -> S3Result<GetBucketCorsOutput> {
    let rules = store.bucket(&input.bucket)?.cors();
    let rules =
        rules.ok_or_else(|| s3_error!(NoSuchCORSConfiguration, "There are no CORS rules"))?;
    Ok(GetBucketCorsOutput {
        cors_rules: Some(rules),
    })
}

pub(super) async fn put_cors(
    store: Arc<Store>,
    request: S3Request<PutBucketCorsInput>,
) -> S3Result<PutBucketCorsOutput> {
    let input = request.input;
    let rules = input.cors_configuration.cors_rules;
    if !CORS_RULES.contains(&rules.len()) {
        return Err(s3_error!(
            MalformedXML,
            "A CORS configuration has 1 to 100 rules"
        ));
    }
    rules.iter().try_for_each(check_rule)?;
    blocking(move || store.bucket(&input.bucket)?.set_cors(Some(rules))).await?;
    Ok(PutBucketCorsOutput::default())
}

pub(super) async fn delete_cors(
    store: Arc<Store>,
    request: S3Request<DeleteBucketCorsInput>,
) -> S3Result<DeleteBucketCorsOutput> {
    let input = request.input;
    blocking(move || store.bucket(&input.bucket)?.set_cors(None)).await?;
    Ok(DeleteBucketCorsOutput {})
}

fn check_rule(rule: &CORSRule) -> S3Result<()> {
    let mut methods = rule.allowed_methods.iter();
    if let Some(method) = methods.find(|name| !CORS_METHODS.contains(&name.as_str())) {
        return Err(s3_error!(
            InvalidRequest,
            "CORS does not support the method {}",
            method
        ));
    }
    let headers = rule.allowed_headers.iter().flatten();
    let mut patterns = rule.allowed_origins.iter().chain(headers);
    if let Some(pattern) = patterns.find(|pattern| pattern.matches('*').count() > 1) {
        return Err(s3_error!(
            InvalidRequest,
            "{} has more than one wildcard",
            pattern
        ));
    }
    Ok(())
}
