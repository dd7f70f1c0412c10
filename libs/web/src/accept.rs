//! Headers that list what a client accepts, with weights (RFC 9110, 12.4.2).

use http::{HeaderMap, HeaderName, header};

/// Longer headers are read up to here.
const MAX_BYTES: usize = 2048;
/// Alternatives that are looked at.
const MAX_ITEMS: usize = 64;

/// Whether the client prefers a page to a problem. One that accepts anything is not a browser.
pub fn wants_html(headers: &HeaderMap) -> bool {
    let accepted = weighted(headers, &header::ACCEPT);
    let weight = |kinds: &[&str]| {
        let weights = accepted
            .iter()
            .filter(|(kind, _)| kinds.iter().any(|it| it.eq_ignore_ascii_case(kind)));
        weights.map(|(_, weight)| *weight).max().unwrap_or(0)
    };
    let html = weight(&["text/html", "application/xhtml+xml"]);
    html > 0 && html >= weight(&["application/problem+json", "application/json"])
}

/// The values with their weights in thousandths, in the order of preference.
pub(crate) fn weighted<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<(&'a str, u16)> {
    let values = headers.get_all(name).iter();
    let mut items: Vec<(&str, u16)> = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value[..value.len().min(MAX_BYTES)].split(','))
        .take(MAX_ITEMS)
        .map(item)
        .collect();
    // Stable: equal weights stay in the order of the client.
    items.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    items
}

fn item(text: &str) -> (&str, u16) {
    let mut parts = text.split(';').map(str::trim);
    let value = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    (value, weight.map_or(1000, thousandths))
}

/// A weight that cannot be read refuses the value.
fn thousandths(weight: &str) -> u16 {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let is_number = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    match (whole, is_number) {
        ("1", true) => 1000,
        ("0", true) => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        headers
    }

    #[test]
    fn browsers_get_pages_and_programs_get_problems() {
        for accept in [
            "text/html",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "TEXT/HTML;level=1",
            "application/xhtml+xml",
            "application/json;q=0.5, text/html;q=0.6",
            "text/html; q=0.001",
        ] {
            assert!(wants_html(&headers(accept)), "{accept}");
        }
        for accept in [
            "*/*",
            "text/*",
            "",
            "application/json",
            "application/json, text/html;q=0.9",
            "application/problem+json, text/html;q=0.9",
            "text/html;q=0",
            "text/html;q=0.0",
            "text/html;q=x",
            "text/html;q=2",
            "text/htmlx",
        ] {
            assert!(!wants_html(&headers(accept)), "{accept}");
        }
        assert!(!wants_html(&HeaderMap::new()));
    }

    #[test]
    fn long_headers_are_read_up_to_a_limit() {
        let many = "a/b,".repeat(MAX_ITEMS) + "text/html";
        assert!(!wants_html(&headers(&many)));
        let long = "x".repeat(MAX_BYTES) + ",text/html";
        assert!(!wants_html(&headers(&long)));
    }
}
