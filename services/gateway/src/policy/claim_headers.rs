//! Removes what a client sends under the names of claims, and of what an external service says.
//!
//! Headers that an upstream gets of a token or a service tell it who the caller is. So they are removed on every
//! route, also on those that verify no token: an upstream cannot know which route a request took.

use std::sync::Arc;

use http::HeaderName;

use super::context::{Edit, PolicyContext};
use crate::{
    config::{Config, logins::LoginConfig},
    request::{RequestFacts, has_prefix},
};

const HASURA_PREFIX: &str = "x-hasura-";

/// The names of all claims in the configuration, and of what is said about client certificates or by
/// external services.
#[derive(Clone, Debug)]
pub(crate) struct ClaimNames {
    names: Arc<[HeaderName]>,
    hasura: bool,
}

impl ClaimNames {
    /// `None`: nothing of the kind is sent to any upstream.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let of_issuers = config.issuers.iter().flat_map(|issuer| &issuer.headers);
        let routes = config.routes.routes().iter();
        let of_routes = routes.clone().flat_map(|route| &route.access.headers);
        let names = of_issuers.chain(of_routes).map(|header| &header.name);
        let of_logins = config.logins.iter().flat_map(LoginConfig::header_names);
        let names = names.chain(of_logins);
        let services = routes.filter_map(|route| route.forward_auth.as_ref());
        let names = names.chain(services.flat_map(|service| &service.response_headers));
        let authorities = config.tls.authorities.iter();
        let names = names.chain(authorities.flat_map(|authority| authority.headers.names()));
        let mut names: Vec<HeaderName> = names.cloned().collect();
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        let mut issuers = config.issuers.iter();
        let hasura = issuers.any(|issuer| issuer.settings.mapping.hasura.is_some());
        (hasura || !names.is_empty()).then(|| Self {
            names: names.into(),
            hasura,
        })
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>, context: &mut PolicyContext) {
        // An edit removes other spellings of its name, too.
        let names = self.names.iter().cloned();
        context.edits.extend(names.map(Edit::Remove));
        if self.hasura {
            facts.headers.each_name(&mut |name| {
                if has_prefix(name, HASURA_PREFIX)
                    && let Ok(name) = HeaderName::from_bytes(name)
                {
                    context.edits.push(Edit::Remove(name));
                }
            });
        }
    }
}
