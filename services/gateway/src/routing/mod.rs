//! Matches the host, path, method, headers and query of a request to a route.

mod access;
mod candidate;
mod codings;
mod condition;
mod forecast;
mod forward_auth;
mod guards;
mod lifecycle;
mod login;
mod matched;
mod mirror;
mod object;
mod pattern;
mod preflight;
mod redirect;
mod retry;
mod rewrite;
mod route;
mod select;
mod split;
mod table;
mod template;
mod validation;

pub(crate) use access::{
    Access, ClaimHeader, CookieForward, RequiredClaim, TokenCookie, TokenSource,
};
pub(crate) use candidate::{Candidate, Mismatch};
pub(crate) use codings::{Coding, CompressionSettings, RequestDecompression, preferred};
pub(crate) use condition::{ExpectedValue, HeaderCondition, QueryCondition};
pub(crate) use forward_auth::ForwardAuth;
pub(crate) use guards::{
    AllowedHeaders, ClientNetworks, Cors, Fault, FaultEffect, Guards, Maintenance, NetworkSet,
    SecurityHeaders,
};
pub(crate) use lifecycle::{AfterSunset, Lifecycle};
pub(crate) use login::RouteLogin;
pub(crate) use matched::{MatchedRoute, ReadHead, SentHead};
pub(crate) use mirror::MirrorRule;
pub(crate) use object::ObjectMatch;
pub(crate) use pattern::{HostPattern, PathPattern};
pub(crate) use redirect::{RedirectParts, RedirectPath};
pub(crate) use retry::{RetryCause, RetryOn};
pub(crate) use rewrite::Rewrite;
pub(crate) use route::{
    Auth, FixedResponse, GatewayPage, HeaderEdit, OnStoreError, Route, RouteAction,
};
pub(crate) use select::Unroutable;
pub(crate) use split::{Split, Sticky};
pub(crate) use table::RouteTable;
pub(crate) use template::Template;
pub(crate) use validation::ValidationMode;
