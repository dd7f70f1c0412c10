use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3Error, S3Result, s3_error};

use crate::cors::Rule;
use crate::disk::{Store, blocking};

pub(super) async fn create(
    store: Arc<Store>,
    input: CreateBucketInput,
) -> S3Result<CreateBucketOutput> {
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
    store: Arc<Store>,
    input: DeleteBucketInput,
) -> S3Result<DeleteBucketOutput> {
    blocking(move || store.delete_bucket(&input.bucket)).await?;
    Ok(DeleteBucketOutput {})
}

pub(super) fn head(store: &Store, input: &HeadBucketInput) -> S3Result<HeadBucketOutput> {
    store.bucket(&input.bucket)?;
    Ok(HeadBucketOutput {
        bucket_region: Some("auto".to_owned()),
        ..Default::default()
    })
}

pub(super) fn list(store: &Store) -> ListBucketsOutput {
    let buckets = store
        .list_buckets()
        .iter()
        .map(|bucket| Bucket {
            creation_date: Some(timestamp(bucket.created_ms)),
            name: Some(bucket.name.clone()),
            ..Default::default()
        })
        .collect();
    ListBucketsOutput {
        buckets: Some(buckets),
        ..Default::default()
    }
}

pub(super) fn get_cors(store: &Store, bucket: &str) -> S3Result<GetBucketCorsOutput> {
    let rules = store.bucket(bucket)?.cors().ok_or_else(|| {
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
    store: Arc<Store>,
    input: PutBucketCorsInput,
) -> S3Result<PutBucketCorsOutput> {
    let rules = input
        .cors_configuration
        .cors_rules
        .into_iter()
        .map(rule)
        .collect::<S3Result<_>>()?;
    blocking(move || {
        store
            .bucket(&input.bucket)?
            .set_cors(Some(rules))
            .map_err(S3Error::internal_error)
    })
    .await?;
    Ok(PutBucketCorsOutput {})
}

pub(super) async fn delete_cors(
    store: Arc<Store>,
    input: DeleteBucketCorsInput,
) -> S3Result<DeleteBucketCorsOutput> {
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

fn timestamp(ms: u64) -> Timestamp {
    Timestamp::from(std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms))
}
