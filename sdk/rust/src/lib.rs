//! Client of Quartet: sessions, uploads, short links and clicks.
//!
//! ```no_run
//! # async fn run() -> Result<(), quartet_client::Error> {
//! use futures_util::TryStreamExt as _;
//! use quartet_client::{NewLink, Quartet, Upload};
//!
//! let quartet = Quartet::new("https://quartet.example")?;
//! quartet.login("ada@example.org", "tangerine-violin-moss".into()).await?;
//!
//! let asset = quartet.upload(&Upload::path("holiday.png").await?.public()).await?;
//! let link = quartet.links().create(NewLink::to(asset.url.unwrap_or_default())).await?;
//! println!("{}", link.short_url);
//!
//! let mut clicks = quartet.links().watch(&link.id);
//! while let Some(click) = clicks.try_next().await? {
//!     println!("{} from {:?}: {} so far", click.at, click.device, click.totals.total);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - **Sessions.** [`Quartet::login`] opens one. Its access token is renewed before it expires
//!   and when the server refuses it, once for all waiting requests. A [`TokenStore`] stores it.
//! - **Retries.** Requests that are safe to retry are sent again when the connection breaks or
//!   the server asks to wait; see [`RetryPolicy`]. Idempotency keys stay the same over attempts.
//! - **Errors.** [`Error::Problem`] is a refusal by the server, with a [`ProblemCode`], the
//!   invalid fields and the request id. [`Error::Transport`] means that there was no complete
//!   response.
//! - **Lists** are streams that fetch page after page.
//! - **Everything else** of the OpenAPI document is in [`Quartet::api`].

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod account;
mod assets;
mod client;
mod error;
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "generated code"
)]
mod generated;
mod links;
mod pages;
mod patch;
mod problem;
mod retry;
mod secret;
mod sender;
mod session;
mod transport;
mod upload;

pub use assets::AssetFilter;
pub use client::{Builder, Quartet};
pub use error::{Error, TransportError, TransportKind};
pub use generated::api;
pub use generated::api::types::{
    Asset, AssetId, AssetStatus, Download, Session as Login, User, Visibility,
};
pub use links::{
    BotReason, Click, ClickCounts, ClickPoint, ClickTotals, Device, Interval, Link, LinkFilter,
    LinkId, LinkPatch, LinkStatus, Links, NewLink, TextFilter, Watch,
};
pub use patch::{Patch, UserPatch};
pub use problem::{FieldError, Problem, ProblemCode};
pub use retry::RetryPolicy;
pub use secret::Secret;
pub use session::{MemoryStore, Session, TokenStore};
pub use upload::{Progress, Source, Upload};
