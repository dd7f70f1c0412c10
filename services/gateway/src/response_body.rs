//! Bodies of responses to requests of the gateway itself.

/// Why there is no whole body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is larger than {0} bytes")]
    TooLong(usize),
    #[error(transparent)]
    Broken(#[from] reqwest::Error),
}

/// The body, unless it is longer than `most`.
///
/// # Errors
/// [`BodyError`].
pub(crate) async fn read_body(
    mut response: reqwest::Response,
    most: usize,
) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        if body.len() + part.len() > most {
            return Err(BodyError::TooLong(most));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}
