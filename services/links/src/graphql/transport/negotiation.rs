//! Which media type a response has, by the `Accept` header (GraphQL over HTTP, section 6.1).

use http::{HeaderMap, header};

/// What the client accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AcceptedTypes {
    pub(super) json: Option<JsonType>,
    pub(super) events: bool,
    pub(super) html: bool,
}

/// The two media types of a GraphQL response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonType {
    /// `application/graphql-response+json`: the status says whether the request was executed.
    GraphQlResponse,
    /// `application/json`, the older type: 200 for every well-formed request.
    Json,
}

impl JsonType {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::GraphQlResponse => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
        }
    }

    /// Quality and rank, by the most specific item that covers this type (RFC 9110, 12.5.1); `None` if
    /// it is not accepted.
    fn preference(self, items: &[(String, u32)]) -> Option<(u32, u32)> {
        let (name, named, covered) = match self {
            Self::GraphQlResponse => ("application/graphql-response+json", 3, 0),
            Self::Json => ("application/json", 2, 1),
        };
        let exact = quality(items, name).map(|quality| (quality, named));
        let preference = exact.or_else(|| {
            let wildcards = ["application/*", "*/*"].into_iter();
            let mut qualities = wildcards.filter_map(|wildcard| quality(items, wildcard));
            Some((qualities.next()?, covered))
        });
        preference.filter(|(quality, _)| *quality > 0)
    }
}

impl AcceptedTypes {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let values: Vec<&str> = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        if values.is_empty() {
            return Self {
                json: Some(JsonType::Json),
                ..Self::default()
            };
        }
        let items: Vec<(String, u32)> = values.into_iter().filter_map(parse).collect();
        let is_named = |media: &str| quality(&items, media).is_some_and(|quality| quality > 0);
        // By quality; between equals the more specific name.
        let json = [JsonType::GraphQlResponse, JsonType::Json]
            .into_iter()
            .filter_map(|json| Some((json.preference(&items)?, json)))
            .max_by_key(|(preference, _)| *preference);
        Self {
            json: json.map(|(_, json)| json),
            events: is_named("text/event-stream"),
            html: is_named("text/html"),
        }
    }
}

/// The quality of an item in the header, if it is there.
fn quality(items: &[(String, u32)], media: &str) -> Option<u32> {
    let qualities = items.iter().filter(|(it, _)| it == media);
    qualities.map(|(_, quality)| *quality).max()
}

/// A media type and its quality in thousandths.
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
    Some((media, quality))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(accept: Option<&str>) -> (Option<JsonType>, bool, bool) {
        let headers = accept.map(|value| (header::ACCEPT, value.parse().unwrap()));
        let accepted = AcceptedTypes::read(&headers.into_iter().collect());
        (accepted.json, accepted.events, accepted.html)
    }

    #[test]
    fn the_media_type_with_the_highest_quality_is_chosen() {
        use JsonType::{GraphQlResponse, Json};
        let cases = [
            (None, (Some(Json), false, false)),
            (Some("*/*"), (Some(Json), false, false)),
            (Some("application/json"), (Some(Json), false, false)),
            (
                Some("application/graphql-response+json"),
                (Some(GraphQlResponse), false, false),
            ),
            (
                Some(
                    "application/graphql-response+json; charset=utf-8, application/json; charset=utf-8",
                ),
                (Some(GraphQlResponse), false, false),
            ),
            (
                Some("application/json, application/graphql-response+json;q=0.9"),
                (Some(Json), false, false),
            ),
            (
                Some("application/graphql-response+json;q=0, */*"),
                (Some(Json), false, false),
            ),
            (
                Some("application/json;q=0, */*"),
                (Some(GraphQlResponse), false, false),
            ),
            (Some("*/*, application/*;q=0"), (None, false, false)),
            (
                Some("text/event-stream;q=0, text/html;q=0, */*"),
                (Some(Json), false, false),
            ),
            (Some("text/event-stream"), (None, true, false)),
            (
                Some("application/graphql-response+json, text/event-stream"),
                (Some(GraphQlResponse), true, false),
            ),
            (
                Some("text/html,application/xhtml+xml,*/*;q=0.8"),
                (Some(Json), false, true),
            ),
            (Some("image/png"), (None, false, false)),
            (Some("rubbish;;;q=x"), (None, false, false)),
        ];
        for (accept, expected) in cases {
            assert_eq!(read(accept), expected, "{accept:?}");
        }
    }
}
