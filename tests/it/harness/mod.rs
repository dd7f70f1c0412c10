//! A stack of the real binaries, and tools to use it and to inject faults.

pub(crate) mod client;
pub(crate) mod database;
pub(crate) mod dns;
pub(crate) mod echo;
pub(crate) mod files;
pub(crate) mod graphql;
pub(crate) mod load;
pub(crate) mod logs;
pub(crate) mod options;
pub(crate) mod ports;
mod processes;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod sdk;
pub(crate) mod secrets;
pub(crate) mod spec;
pub(crate) mod stack;
pub(crate) mod user;
pub(crate) mod wait;

pub(crate) use client::{Client, Response};
pub(crate) use echo::Echo;
pub(crate) use load::Load;
pub(crate) use options::Options;
pub(crate) use proxy::{Fault, Proxy};
pub(crate) use sdk::SdkUser;
pub(crate) use stack::Stack;
pub(crate) use user::User;
pub(crate) use wait::eventually;
