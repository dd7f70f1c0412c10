//! The few pages that people see of the gateway itself: plain, without scripts, and with nothing from
//! elsewhere, so that they work whatever else does not.

use http::{HeaderName, HeaderValue, StatusCode, header};
use maud::{DOCTYPE, Markup, html};

use super::failure::LoginFailure;
use crate::reply::{GatewayResponse, Page, Reply};

/// `Referrer-Policy` is not `no-referrer`: with that, the `Origin` of a form of the same host would be `null`.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
];
const HTML: &str = "text/html; charset=utf-8";

/// The page about a failure. `again`: where its link leads. `cookies`: what is removed.
pub(super) fn failure(
    failure: LoginFailure,
    again: String,
    cookies: Vec<HeaderValue>,
) -> Box<GatewayResponse> {
    let text = failure.text();
    let link = text.again.map(|label| (again, label));
    let render = move |request_id: &str| {
        let body = html! {
            h1 { (text.title) }
            p { (text.what) }
            p { (text.advice) }
            @if let Some((to, label)) = &link {
                p { a href=(to) { (label) } }
            }
            p { small { "Number of this request: " code { (request_id) } } }
        };
        document(text.title, body).into_string()
    };
    let mut problem = failure.into_problem();
    let retry = problem.headers.remove(header::RETRY_AFTER);
    let mut headers: Vec<_> = head().collect();
    headers.extend(retry.map(|retry| (header::RETRY_AFTER, retry)));
    headers.extend(
        cookies
            .into_iter()
            .map(|cookie| (header::SET_COOKIE, cookie)),
    );
    Box::new(GatewayResponse::Page(Box::new(Page {
        problem,
        headers,
        render: Box::new(render),
    })))
}

/// After a logout.
pub(super) fn logged_out(again: &str) -> Reply {
    plain(
        "You are logged out",
        html! {
            p { "You can close this window." }
            p { a href=(again) { "Log in again" } }
        },
    )
}

/// Another site has led here: logging out needs a click.
pub(super) fn confirm_logout(action: &str) -> Reply {
    plain(
        "Log out?",
        html! {
            form method="post" action=(action) {
                button type="submit" { "Log out" }
            }
        },
    )
}

/// A form was sent without a session.
pub(super) fn form_expired(again: &str) -> Reply {
    let reply = plain(
        "You are not logged in",
        html! {
            p { "What you have sent was not processed: your session has ended." }
            p { "Go back, copy what you have written, log in, and send it again." }
            p { a href=(again) { "Log in" } }
        },
    );
    reply.status(StatusCode::UNAUTHORIZED)
}

fn plain(title: &str, body: Markup) -> Reply {
    let body = html! { h1 { (title) } (body) };
    let text = document(title, body).into_string();
    let reply = Reply::ok(HeaderValue::from_static(HTML), text);
    head().fold(reply, |reply, (name, value)| reply.header(name, value))
}

fn head() -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let headers = HEADERS.into_iter();
    headers.map(|(name, value)| (name, HeaderValue::from_static(value)))
}

fn document(title: &str, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) }
                // Empty. Otherwise browsers ask for /favicon.ico.
                link rel="icon" href="data:,";
            }
            body { main { (body) } }
        }
    }
}
