//! Buckets and their CORS rules.

use std::sync::Arc;

use s3s::dto::{
    Bucket, CORSRule, CreateBucketInput, CreateBucketOutput, DeleteBucketCorsInput,
    DeleteBucketCorsOutput, DeleteBucketInput, DeleteBucketOutput, GetBucketCorsInput,
    GetBucketCorsOutput, GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput,
    HeadBucketOutput, ListBucketsInput, ListBucketsOutput, PutBucketCorsInput, PutBucketCorsOutput,
};
use s3s::{S3Error, S3Request, S3Result, s3_error};

use crate::cors::Rule;
use crate::disk::{Store, blocking, timestamp};

const CORS_RULES: std::ops::RangeInclusive<usize> = 1..=100;

pub(super) async fn create(
    store: &Arc<Store>,
    request: S3Request<CreateBucketInput>,
) -> S3Result<CreateBucketOutput> {
    let (store, input) = (Arc::clone(store), request.input);
    let location = format!("/{}", input.bucket);
    let made = blocking(move || {
        store
            .ensure_bucket(&input.bucket)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::InvalidInput => {
                    s3_error!(
                        error,
                        InvalidBucketName,
                        "The specified bucket is not valid."
                    )
                }
                _ => S3Error::internal_error(error),
            })
    })
    .await?;
    if !made {
        return Err(s3_error!(
            BucketAlreadyOwnedByYou,
            "Your previous request to create the named bucket succeeded and you already own it."
        ));
    }
    Ok(CreateBucketOutput {
        location: Some(location),
    })
}

pub(super) async fn delete(
    store: &Arc<Store>,
    request: S3Request<DeleteBucketInput>,
) -> S3Result<DeleteBucketOutput> {
    let (store, input) = (Arc::clone(store), request.input);
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
            prefix
                .as_deref()
                .is_none_or(|prefix| bucket.name.starts_with(prefix))
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
    let rules = store.bucket(&input.bucket)?.cors().ok_or_else(|| {
        s3_error!(
            NoSuchCORSConfiguration,
            "The CORS configuration does not exist"
        )
    })?;
    let rules = rules
        .into_iter()
        .map(|rule| CORSRule {
            allowed_headers: some_list(rule.headers),
            allowed_methods: rule.methods,
            allowed_origins: rule.origins,
            expose_headers: some_list(rule.expose),
            id: rule.id,
            max_age_seconds: rule.max_age_seconds,
        })
        .collect();
    Ok(GetBucketCorsOutput {
        cors_rules: Some(rules),
    })
}

pub(super) async fn put_cors(
    store: &Arc<Store>,
    request: S3Request<PutBucketCorsInput>,
) -> S3Result<PutBucketCorsOutput> {
    let (store, input) = (Arc::clone(store), request.input);
    let given = input.cors_configuration.cors_rules;
    if !CORS_RULES.contains(&given.len()) {
        return Err(s3_error!(
            MalformedXML,
            "A CORS configuration has 1 to 100 rules"
        ));
    }
    let rules = given.into_iter().map(rule).collect::<S3Result<_>>()?;
    blocking(move || {
        store
            .bucket(&input.bucket)?
            .set_cors(Some(rules))
            .map_err(S3Error::internal_error)
    })
    .await?;
    Ok(PutBucketCorsOutput::default())
}

pub(super) async fn delete_cors(
    store: &Arc<Store>,
    request: S3Request<DeleteBucketCorsInput>,
) -> S3Result<DeleteBucketCorsOutput> {
    let (store, input) = (Arc::clone(store), request.input);
    blocking(move || {
        store
            .bucket(&input.bucket)?
            .set_cors(None)
            .map_err(S3Error::internal_error)
    })
    .await?;
    Ok(DeleteBucketCorsOutput {})
}

fn rule(rule: CORSRule) -> S3Result<Rule> {
    let known = ["GET", "HEAD", "PUT", "POST", "DELETE"];
    if let Some(method) = rule
        .allowed_methods
        .iter()
        .find(|name| !known.contains(&name.as_str()))
    {
        return Err(s3_error!(
            InvalidRequest,
            "Found unsupported HTTP method in CORS config. Unsupported method is {}",
            method
        ));
    }
    let patterns = rule
        .allowed_origins
        .iter()
        .chain(rule.allowed_headers.iter().flatten());
    for pattern in patterns {
        if pattern.matches('*').count() > 1 {
            return Err(s3_error!(
                InvalidRequest,
                "{} can not have more than one wildcard.",
                pattern
            ));
        }
    }
    Ok(Rule {
        id: rule.id,
        origins: rule.allowed_origins,
        methods: rule.allowed_methods,
        headers: rule.allowed_headers.unwrap_or_default(),
        expose: rule.expose_headers.unwrap_or_default(),
        max_age_seconds: rule.max_age_seconds,
    })
}

fn some_list(values: Vec<String>) -> Option<Vec<String>> {
    (!values.is_empty()).then_some(values)
}
