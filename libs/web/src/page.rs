//! A page and its headers.

use axum::response::{Html, IntoResponse, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::{HeaderValue, StatusCode, header};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::texts::Language;

const STYLE: &str = include_str!("page.css");
const NONCE_BYTES: usize = 16;

/// A page without scripts and without anything from elsewhere.
#[derive(Debug)]
pub struct Page<'a> {
    pub status: StatusCode,
    pub language: &'a Language,
    pub title: &'a str,
    /// The content of `main`.
    pub body: Markup,
}

impl IntoResponse for Page<'_> {
    fn into_response(self) -> Response {
        let nonce = STANDARD_NO_PAD.encode(rand::random::<[u8; NONCE_BYTES]>());
        let policy = format!(
            "default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'"
        );
        let html = self.render(&nonce).into_string();
        let mut response = (self.status, Html(html)).into_response();
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CACHE_CONTROL, "private, no-store"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::VARY, "accept, accept-language"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let robots = header::HeaderName::from_static("x-robots-tag");
        headers.insert(robots, HeaderValue::from_static("noindex"));
        // Both are visible ASCII: base64, and a tag that was read as one.
        if let (Ok(policy), Ok(language)) = (policy.parse(), self.language.tag().parse()) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
            headers.insert(header::CONTENT_LANGUAGE, language);
        }
        response
    }
}

impl Page<'_> {
    fn render(&self, nonce: &str) -> Markup {
        html! {
            (DOCTYPE)
            html lang=(self.language.tag()) dir=(self.language.direction()) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="robots" content="noindex";
                    title { (self.title) }
                    // Empty. Otherwise browsers ask for /favicon.ico, and report that the policy refuses it.
                    link rel="icon" href="data:,";
                    style nonce=(nonce) { (PreEscaped(STYLE)) }
                }
                body { main { (self.body) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::Texts;

    const HOSTILE: &str = "</title><script>alert(1)</script>\"' onload=x & \u{0}";

    async fn page() -> (http::HeaderMap, String) {
        let texts = Texts::new(&[("en", "x = x\n")]).unwrap();
        let page = Page {
            status: StatusCode::GONE,
            language: texts.negotiate(&http::HeaderMap::new()),
            title: HOSTILE,
            body: html! { h1 title=(HOSTILE) { (HOSTILE) } },
        };
        let response = page.into_response();
        assert_eq!(response.status(), 410);
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn texts_are_escaped_everywhere() {
        let (_, html) = page().await;
        assert!(!html.contains("<script"), "{html}");
        assert_eq!(html.matches("</title>").count(), 1);
        assert!(!html.contains("\"' onload"), "{html}");
        assert_eq!(html.matches("&lt;/title&gt;&lt;script&gt;").count(), 3);
        assert!(html.contains("&amp;") && html.contains("&quot;"));
    }

    #[tokio::test]
    async fn a_page_can_load_and_run_nothing_and_is_kept_by_no_cache() {
        let (headers, html) = page().await;
        let policy = headers["content-security-policy"].to_str().unwrap();
        let nonce = policy
            .split('\'')
            .find_map(|part| part.strip_prefix("nonce-"));
        let nonce = nonce.unwrap();
        assert_eq!(nonce.len(), 22);
        assert!(html.contains(&format!("<style nonce=\"{nonce}\">")));
        assert_eq!(html.matches("<style").count(), 1);
        assert_eq!(
            policy.replace(nonce, "N"),
            "default-src 'none'; style-src 'nonce-N'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'"
        );
        for (name, value) in [
            ("cache-control", "private, no-store"),
            ("content-language", "en"),
            ("content-type", "text/html; charset=utf-8"),
            ("referrer-policy", "no-referrer"),
            ("vary", "accept, accept-language"),
            ("x-content-type-options", "nosniff"),
            ("x-robots-tag", "noindex"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        let icon = "<link rel=\"icon\" href=\"data:,\">";
        assert_eq!(
            html.matches(icon).count(),
            1,
            "nothing asks for /favicon.ico"
        );
        let html = html.replace(icon, "");
        for text in ["src=", "href=", "url(", "@import", "://", " style="] {
            assert!(!html.contains(text), "{text}");
        }
        let (other, _) = page().await;
        assert_ne!(
            other["content-security-policy"], policy,
            "a nonce of its own"
        );
    }
}
