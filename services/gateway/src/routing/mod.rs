//! Matches the host, path, method and headers of a request to a route.

mod pattern;
mod route;
mod select;
mod table;
mod template;

pub(crate) use pattern::{HostPattern, PathPattern};
pub(crate) use route::{Auth, GatewayPage, Route, RouteAction};
pub(crate) use select::Unroutable;
pub(crate) use table::RouteTable;
pub(crate) use template::Template;
