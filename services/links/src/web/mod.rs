//! Pages: what people see where a short link does not redirect.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use maud::html;
use quartet_common::problem::Kind;
use quartet_web::{Page, Texts};

use crate::problems::{
    LINK_DISABLED, LINK_EXHAUSTED, LINK_EXPIRED, LINK_NOT_FOUND, PREFETCH_REFUSED,
};

static TEXTS: LazyLock<Texts> = LazyLock::new(|| {
    let resources = [
        ("en", include_str!("texts/en.ftl")),
        ("de", include_str!("texts/de.ftl")),
    ];
    Texts::new(&resources).expect("a test reads them")
});

/// What a page is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoticePage {
    NotFound,
    Disabled,
    Expired,
    Exhausted,
    PrefetchRefused,
    /// For bots that look at a link with `max_clicks`.
    PeopleOnly,
}

impl NoticePage {
    /// The problem that other clients get; `None` where every client gets the page.
    pub(crate) fn kind(self) -> Option<&'static Kind> {
        match self {
            Self::NotFound => Some(&LINK_NOT_FOUND),
            Self::Disabled => Some(&LINK_DISABLED),
            Self::Expired => Some(&LINK_EXPIRED),
            Self::Exhausted => Some(&LINK_EXHAUSTED),
            Self::PrefetchRefused => Some(&PREFETCH_REFUSED),
            Self::PeopleOnly => None,
        }
    }

    /// The messages of its title and its text.
    fn messages(self) -> (&'static str, &'static str) {
        match self {
            Self::NotFound => ("not-found-title", "not-found-text"),
            Self::Disabled => ("disabled-title", "disabled-text"),
            Self::Expired => ("expired-title", "expired-text"),
            Self::Exhausted => ("exhausted-title", "exhausted-text"),
            Self::PrefetchRefused => ("prefetch-title", "prefetch-text"),
            Self::PeopleOnly => ("people-title", "people-text"),
        }
    }
}

/// The page in the language of the client.
pub(crate) fn page(headers: &HeaderMap, notice: NoticePage) -> Response {
    let language = TEXTS.negotiate(headers);
    let (title, text) = notice.messages();
    let (title, text) = (language.text(title), language.text(text));
    let kind = notice.kind();
    let status = kind.map_or(StatusCode::OK, |kind| kind.status);
    let body = html! {
        // Two links of a chain, apart.
        svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2"
            stroke-linecap="round" aria-hidden="true" {
            path d="M9.5 14.5 8 16a3.5 3.5 0 0 1-5-5l3-3a3.5 3.5 0 0 1 5 0" {}
            path d="M14.5 9.5 16 8a3.5 3.5 0 0 1 5 5l-3 3a3.5 3.5 0 0 1-5 0" {}
            path d="M12 3v2M12 19v2" {}
        }
        h1 { (title) }
        p { (text) }
        @if let Some(kind) = kind {
            footer { (kind.status.as_u16()) " · " (kind.code) }
        }
    };
    let page = Page {
        status,
        language,
        title: &title,
        body,
    };
    page.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notice_has_texts_of_its_own_in_every_language() {
        let notices = [
            NoticePage::NotFound,
            NoticePage::Disabled,
            NoticePage::Expired,
            NoticePage::Exhausted,
            NoticePage::PrefetchRefused,
            NoticePage::PeopleOnly,
        ];
        for tag in ["en", "de"] {
            let mut headers = HeaderMap::new();
            headers.insert("accept-language", tag.parse().unwrap());
            let language = TEXTS.negotiate(&headers);
            assert_eq!(language.tag(), tag);
            let mut seen = Vec::new();
            for id in notices
                .map(NoticePage::messages)
                .map(<[&str; 2]>::from)
                .concat()
            {
                let text = language.text(id);
                assert!(text != id && !seen.contains(&text), "{tag}: {id}");
                seen.push(text);
            }
        }
    }
}
