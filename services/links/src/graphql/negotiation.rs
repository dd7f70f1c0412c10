//! Which form of answer a client takes (GraphQL over HTTP, section 6.1).

use http::{HeaderMap, header};

/// What the `Accept` header lets us send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) json: Option<JsonForm>,
    pub(super) events: bool,
    pub(super) html: bool,
}

/// The two media types of a GraphQL answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonForm {
    /// `application/graphql-response+json`: the status tells whether the request was executed.
    Response,
    /// `application/json`: 200 for every request that is one.
    Legacy,
}

impl JsonForm {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Response => "application/graphql-response+json; charset=utf-8",
            Self::Legacy => "application/json; charset=utf-8",
        }
    }
}

impl Accepted {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let values: Vec<&str> = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        if values.is_empty() {
            return Self {
                json: Some(JsonForm::Legacy),
                ..Self::default()
            };
        }
        let mut accepted = Self::default();
        let mut best = 0;
        for (media, quality) in values.into_iter().filter_map(parse) {
            let json = match media.as_str() {
                "application/graphql-response+json" => Some((JsonForm::Response, 3)),
                "application/json" => Some((JsonForm::Legacy, 2)),
                "*/*" | "application/*" => Some((JsonForm::Legacy, 1)),
                _ => None,
            };
            accepted.events |= media == "text/event-stream";
            accepted.html |= media == "text/html";
            // By the client's quality; the more exact name where it does not care.
            if let Some((form, rank)) = json
                && quality * 4 + rank > best
            {
                best = quality * 4 + rank;
                accepted.json = Some(form);
            }
        }
        accepted
    }
}

/// A media type and its quality in thousandths; `None` for what is not acceptable.
fn parse(item: &str) -> Option<(String, u32)> {
    let mut parts = item.split(';').map(str::trim);
    let media = parts.next()?.to_ascii_lowercase();
    let quality = parts
        .filter_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
        .find_map(|quality| quality.parse::<f32>().ok())
        .unwrap_or(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped"
    )]
    let quality = (quality.clamp(0.0, 1.0) * 1000.0) as u32;
    (quality > 0).then_some((media, quality))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(accept: Option<&str>) -> (Option<JsonForm>, bool, bool) {
        let headers = accept.map(|value| (header::ACCEPT, value.parse().unwrap()));
        let accepted = Accepted::read(&headers.into_iter().collect());
        (accepted.json, accepted.events, accepted.html)
    }

    #[test]
    fn the_best_form_that_the_client_takes_is_chosen() {
        use JsonForm::{Legacy, Response};
        let cases = [
            (None, (Some(Legacy), false, false)),
            (Some("*/*"), (Some(Legacy), false, false)),
            (Some("application/json"), (Some(Legacy), false, false)),
            (
                Some("application/graphql-response+json"),
                (Some(Response), false, false),
            ),
            (
                Some(
                    "application/graphql-response+json; charset=utf-8, application/json; charset=utf-8",
                ),
                (Some(Response), false, false),
            ),
            (
                Some("application/json, application/graphql-response+json;q=0.9"),
                (Some(Legacy), false, false),
            ),
            (
                Some("application/graphql-response+json;q=0, */*"),
                (Some(Legacy), false, false),
            ),
            (Some("text/event-stream"), (None, true, false)),
            (
                Some("application/graphql-response+json, text/event-stream"),
                (Some(Response), true, false),
            ),
            (
                Some("text/html,application/xhtml+xml,*/*;q=0.8"),
                (Some(Legacy), false, true),
            ),
            (Some("image/png"), (None, false, false)),
            (Some("rubbish;;;q=x"), (None, false, false)),
        ];
        for (accept, expected) in cases {
            assert_eq!(read(accept), expected, "{accept:?}");
        }
    }
}
