//! What the authority suggests about the renewal of a certificate (ARI, RFC 9773).

use std::time::Duration;

use chrono::DateTime;
use instant_acme::Error;

use super::{account::OpenAccount, failure::AcmeError, issued::Issued, schedule::Window};

pub(super) enum Suggestion {
    /// With the page that says why, and the time until it may be asked again.
    Window(Window, Option<String>, Duration),
    None,
    /// It was not asked: another gateway is making the account.
    Later,
}

/// # Errors
/// When the authority is away, or refuses for another reason than that it does not know the certificate.
pub(super) async fn ask_window(
    open: &OpenAccount,
    issued: &Issued,
) -> Result<Suggestion, AcmeError> {
    let Some(identifier) = issued.identifier() else {
        return Ok(Suggestion::None);
    };
    let (info, retry_after) = match open.account.renewal_info(&identifier).await {
        Err(Error::Unsupported(_)) => return Ok(Suggestion::None),
        Err(error) => {
            let error = open.error(&error);
            let is_unknown = error.outcome() == "refused";
            return if is_unknown {
                Ok(Suggestion::None)
            } else {
                Err(error)
            };
        }
        Ok(info) => info,
    };
    let time = |seconds| DateTime::from_timestamp(seconds, 0);
    let suggested = info.suggested_window;
    let (start, end) = (
        suggested.start.unix_timestamp(),
        suggested.end.unix_timestamp(),
    );
    Ok(match time(start).zip(time(end)) {
        Some((start, end)) => {
            Suggestion::Window(Window { start, end }, info.explanation_url, retry_after)
        }
        None => Suggestion::None,
    })
}
