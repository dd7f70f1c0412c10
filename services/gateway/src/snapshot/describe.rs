//! Where responses come from, in words.

use serde_json::{Value, json};

use super::Snapshot;
use crate::{
    routing::{Route, RouteAction},
    upstream::Upstream,
};

impl Snapshot {
    /// Where the response of a route comes from, as `explain` shows it.
    pub(crate) fn describe_destination(&self, route: &Route) -> Value {
        match route.action {
            RouteAction::Proxy(index) => describe_upstream(&self.upstreams[index]),
            RouteAction::Choose if route.lookup.is_some() => {
                let lookup = route.lookup.as_ref();
                let name = lookup.map(|(index, _)| &*self.config.lookups[*index].name);
                json!({ "lookup": name, "segment": lookup.map(|(_, segment)| segment) })
            }
            RouteAction::Choose => {
                let parts = route.split.iter().flat_map(|split| &split.parts);
                let parts = parts.map(|&(index, weight)| {
                    let upstream = describe_upstream(&self.upstreams[index]);
                    json!({ "weight": weight, "of": upstream })
                });
                json!({ "split": parts.collect::<Vec<_>>() })
            }
            RouteAction::Serve(page) => json!({ "serve": format!("{page:?}").to_lowercase() }),
            RouteAction::Redirect => {
                json!({ "redirect": route.redirect.as_ref().map(ToString::to_string) })
            }
            RouteAction::Respond => {
                json!({ "respond": route.respond.as_ref().map(|it| it.status.as_u16()) })
            }
            RouteAction::Site => {
                json!({ "site": route.site.map(|index| &*self.config.sites[index].name) })
            }
            RouteAction::Verify => json!({ "serve": "auth_verify" }),
        }
    }
}

/// Its name and the addresses of its replicas.
fn describe_upstream(upstream: &Upstream) -> Value {
    let replicas = upstream.replicas();
    let addresses: Vec<String> = replicas.iter().map(|it| it.address.to_string()).collect();
    // Those of names are known to a running gateway only.
    let replicas = (!addresses.is_empty()).then_some(addresses);
    json!({ "upstream": &*upstream.config.name, "replicas": replicas })
}
