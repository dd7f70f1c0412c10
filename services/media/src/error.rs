//! Errors and the problems that clients see.

use quartet_common::problem::{FieldError, Problem, Rule};

use crate::{problems, store::objects::ObjectError};

/// Every way in which an operation fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the asset does not exist or belongs to another user")]
    AssetNotFound,
    #[error("the file has not been uploaded")]
    NotUploaded,
    #[error("the uploaded file was rejected")]
    AssetFailed,
    #[error("the asset is not ready")]
    AssetNotReady,
    #[error("the uploaded file does not match the presign request")]
    Mismatch(Vec<Mismatch>),
    #[error("the object store failed")]
    Objects(#[from] ObjectError),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// How an uploaded file differs from the presign request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    Size(Rule),
    ContentType(Rule),
    Checksum(Rule),
}

impl From<Mismatch> for FieldError {
    fn from(mismatch: Mismatch) -> Self {
        let (pointer, rule) = match mismatch {
            Mismatch::Size(rule) => ("/size_bytes", rule),
            Mismatch::ContentType(rule) => ("/content_type", rule),
            Mismatch::Checksum(rule) => ("/checksum_sha256", rule),
        };
        Self::body(pointer, rule.code, rule.detail)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::AssetNotFound => Self::not_found("asset"),
            Error::NotUploaded => Self::new(&problems::NOT_UPLOADED)
                .detail("send the file to the signed URL, then complete the upload again"),
            Error::AssetFailed => Self::new(&problems::ASSET_FAILED)
                .detail("the file did not match the presign request and was removed"),
            Error::AssetNotReady => {
                Self::new(&problems::ASSET_NOT_READY).detail("complete the upload first")
            }
            Error::Mismatch(mismatches) => Self::new(&problems::UPLOAD_MISMATCH)
                .errors(mismatches.into_iter().map(FieldError::from).collect()),
            Error::Objects(error) => Self::not_now(&problems::STORE_UNAVAILABLE).source(error),
            Error::Database(error) => quartet_db::problem(error),
        }
    }
}
