//! What can go wrong, and what a client is told of it.

use axum::response::{IntoResponse, Response};
use quartet_common::problem::{FieldError, Problem};

use crate::objects::ObjectError;

pub(crate) mod kinds;

/// Everything that the rooms below the API may answer instead of a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no such asset, or it belongs to somebody else")]
    AssetNotFound,
    #[error("the file has not been uploaded")]
    NotUploaded,
    #[error("the uploaded file was not what was promised")]
    AssetFailed,
    #[error("the asset is not ready")]
    NotReady,
    #[error("the uploaded file is not what was promised")]
    Mismatch(Vec<FieldError>),
    #[error("the object store failed")]
    Objects(#[from] ObjectError),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::AssetNotFound => Self::not_found("asset"),
            Error::NotUploaded => Self::new(&kinds::NOT_UPLOADED)
                .detail("send it to the address that presign gave, then complete again"),
            Error::AssetFailed => Self::new(&kinds::ASSET_FAILED)
                .detail("it was not what was promised and has been removed; presign anew"),
            Error::NotReady => {
                Self::new(&kinds::ASSET_NOT_READY).detail("complete the upload first")
            }
            Error::Mismatch(errors) => Self::new(&kinds::UPLOAD_MISMATCH).errors(errors),
            Error::Objects(error) => Self::not_now(&kinds::STORE_UNAVAILABLE).source(error),
            Error::Database(error) => quartet_db::problem(error),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
