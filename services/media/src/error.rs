//! What can go wrong, and what a client is told of it.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use quartet_common::problem::{FieldError, Problem};

use crate::objects::ObjectError;

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
        let conflict = |code, title: &'static str| Self::new(StatusCode::CONFLICT, code, title);
        match error {
            Error::AssetNotFound => Self::not_found("asset"),
            Error::NotUploaded => conflict("not_uploaded", "The file has not been uploaded yet")
                .detail("send it to the address that presign gave, then complete again"),
            Error::AssetFailed => conflict("asset_failed", "The uploaded file was refused")
                .detail("it was not what was promised and has been removed; presign anew"),
            Error::NotReady => conflict("asset_not_ready", "The asset is not ready")
                .detail("complete the upload first"),
            Error::Mismatch(errors) => {
                let mut problem = Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "upload_mismatch",
                    "The uploaded file is not what was promised",
                );
                problem.errors = errors;
                problem
            }
            Error::Objects(error) => {
                let mut problem = Self::unavailable(error);
                problem.code = "store_unavailable";
                problem.title = "The object store does not answer just now".into();
                problem
            }
            Error::Database(error) => error.into(),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
