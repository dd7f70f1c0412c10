//! Pages: the HTML that services show to people.
//!
//! A page is a title and a body in one language, rendered by [`Page`] with the headers that keep it
//! harmless: nothing is loaded from anywhere, no script runs, no one can frame it, and no cache keeps
//! it. Markup is written with [`maud`], which escapes every text. Texts are Fluent resources, chosen by
//! `Accept-Language` ([`Texts`]). Programs never see a page: [`wants_html`] decides by `Accept`.

mod accept;
mod cookies;
mod page;
mod texts;

pub use accept::wants_html;
pub use cookies::{HostCookie, read_cookie};
pub use page::Page;
pub use texts::{Language, Texts, TextsError};
