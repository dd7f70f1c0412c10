//! Errors and the problems that clients see.

use std::sync::Arc;

use quartet_common::problem::{FieldError, Problem, Rule, kinds};

use crate::{
    problems,
    store::{objects::ObjectError, uploads::MAX_COPIES},
};

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
    #[error("too many different files of the upload were verified")]
    TooManyFiles,
    #[error("the uploaded file is still being verified")]
    StillVerifying,
    #[error("verifying the uploaded file took too long or was canceled")]
    VerificationEnded,
    #[error("too many uploaded files are being verified")]
    TooBusy,
    #[error("verifying the uploaded file failed")]
    Shared(#[source] Arc<Error>),
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
            Error::TooManyFiles => Self::new(&problems::TOO_MANY_FILES).detail(format!(
                "{MAX_COPIES} different files were verified already; presign a new upload"
            )),
            Error::AssetNotReady => {
                Self::new(&problems::ASSET_NOT_READY).detail("complete the upload first")
            }
            Error::Mismatch(mismatches) => Self::new(&problems::UPLOAD_MISMATCH)
                .errors(mismatches.into_iter().map(FieldError::from).collect()),
            Error::StillVerifying => Self::not_now(&problems::STORE_UNAVAILABLE)
                .detail("the file is still being verified; complete the upload again"),
            Error::VerificationEnded => Self::not_now(&problems::STORE_UNAVAILABLE).source(error),
            Error::TooBusy => Self::unavailable(error),
            Error::Shared(error) => shared(error),
            Error::Objects(error) => Self::not_now(&problems::STORE_UNAVAILABLE).source(error),
            Error::Database(error) => quartet_db::problem(error),
        }
    }
}

/// The problem of an error that several requests share.
fn shared(error: Arc<Error>) -> Problem {
    match &*error {
        Error::AssetNotFound => Error::AssetNotFound.into(),
        Error::NotUploaded => Error::NotUploaded.into(),
        Error::AssetFailed => Error::AssetFailed.into(),
        Error::TooManyFiles => Error::TooManyFiles.into(),
        Error::Mismatch(found) => Error::Mismatch(found.clone()).into(),
        Error::Database(cause) if quartet_db::is_transient(cause) => {
            Problem::not_now(&kinds::DATABASE_UNAVAILABLE).source(error)
        }
        Error::Database(_) => Problem::internal(error),
        _ => Problem::not_now(&problems::STORE_UNAVAILABLE).source(error),
    }
}
