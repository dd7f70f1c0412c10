//! Logins at the gateway: sessions of people, from a provider (OpenID Connect, GitHub) or from core.
//!
//! ```text
//! browser --GET /app--> guard (policy::login) --302 + flow cookie--> provider --302--> /auth/callback
//!                         |                                                                  |
//!                         | session in the store?                            code -> tokens -> session,
//!                         v                                                  302 to /app + session cookie
//!                      upstream, with headers that name the user
//! ```
//!
//! The cookie of a session is a random number; the store has its hash, what is known of the user, and the
//! tokens. A flow is one attempt to log in: it has a row of its own, so that tabs do not disturb each other,
//! and ends with the first callback. Whatever fails is a page that says what to do; nothing is tried again
//! without a click, so nothing loops.

mod backchannel;
mod callback;
mod cookie;
mod endpoints;
mod exchange;
mod failure;
mod flow;
mod ids;
mod live;
mod login;
mod logout;
mod navigation;
mod oauth2_proxy;
mod operators;
mod pages;
mod provider;
mod record;
mod refresh;
mod store;
mod target;

pub(crate) use cookie::is_of_login;
pub(crate) use endpoints::{PageRequest, is_of_page};
pub(crate) use failure::LoginFailure;
pub(crate) use ids::SessionKey;
pub(crate) use live::Session;
pub(crate) use login::{FoundSession, Login, LoginParts};
pub(crate) use navigation::{Visit, visit};
pub(crate) use operators::EndedSessions;
pub(crate) use store::{CommandStore, SessionFilter, StoreAway};
