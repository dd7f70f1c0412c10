//! Client of a Quartet: sessions, uploads, short links and their clicks.
//!
//! ```no_run
//! # async fn run() -> Result<(), quartet_client::Error> {
//! use futures_util::TryStreamExt as _;
//! use quartet_client::{NewLink, Quartet, Upload};
//!
//! let quartet = Quartet::new("https://quartet.example")?;
//! quartet.log_in("ada@example.org", "tangerine-violin-moss".into()).await?;
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
//! - **Sessions.** [`Quartet::log_in`] opens one. Its access token is renewed before it ends and
//!   when the server refuses it, once for all requests that wait. [`TokenStore`] keeps it.
//! - **Repetition.** What cannot be done twice by accident is sent again when the connection
//!   breaks or the server asks for patience; see [`RetryPolicy`]. Idempotency keys are made and
//!   kept over the attempts.
//! - **Errors.** [`Error::Problem`] is the server's no, with a [`ProblemCode`], the fields that
//!   are wrong and the request's id. [`Error::Transport`] means that no whole answer came.
//! - **Lists** are streams that fetch page after page.
//! - **Everything else** of the OpenAPI document is in [`Quartet::api`].

mod account;
mod assets;
mod client;
mod error;
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "it is written by a program"
)]
mod generated;
mod links;
mod pages;
mod patch;
mod problem;
mod retry;
mod secret;
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
