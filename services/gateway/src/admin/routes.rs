//! `/routes` and `/explain`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State as Extract},
};
use quartet_common::problem::Problem;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::{
    config::Config,
    explain::{ExplainedRequest, Explanation},
    routing::{Auth, Route, RouteAction},
    state::State,
    status::RouteStatus,
};

pub(super) async fn list_routes(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    Json(json!({ "routes": describe_routes(&state.snapshot().config) }))
}

/// As the `explain` command, with the configuration in force. `header` may be repeated.
///
/// # Errors
/// 400 when the parameters are no request.
pub(super) async fn explain(
    Extract(state): Extract<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let query = query.unwrap_or_default();
    let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let all = |name: &'static str| {
        let named = parameters.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| &**value)
    };
    let invalid =
        |name: &str, rule: String| Problem::invalid_parameter(name, "invalid_request", &rule);
    let client = all("client_ip").next().map(str::parse).transpose();
    let client = client.map_err(|_| invalid("client_ip", "must be an IP address".to_owned()))?;
    let (method, url) = (all("method").next(), all("url").next());
    let request = ExplainedRequest::parse(
        method.unwrap_or("GET"),
        url.unwrap_or_default(),
        all("header"),
        client,
    );
    let request = request.map_err(|rule| invalid("url", rule))?;
    let explanation = Explanation::of(&request, &state.snapshot());
    Ok(Json(json!(explanation)))
}

/// The routes as `/routes` and the `routes` command show them.
pub(crate) fn describe_routes(config: &Config) -> Vec<Value> {
    let routes = config.routes.routes().iter();
    routes.map(|route| describe_route(route, config)).collect()
}

fn describe_route(route: &Route, config: &Config) -> Value {
    let action = match route.action {
        RouteAction::Proxy(index) => json!({ "upstream": &*config.upstreams[index].name }),
        RouteAction::Choose if route.lookup.is_some() => {
            let lookup = route.lookup.as_ref();
            json!({ "lookup": lookup.map(|(index, _)| &*config.lookups[*index].name) })
        }
        RouteAction::Choose => {
            let parts = route.split.iter().flat_map(|split| &split.parts);
            let parts = parts.map(|&(index, weight)| {
                json!({ "upstream": &*config.upstreams[index].name, "weight": weight })
            });
            json!({ "split": parts.collect::<Vec<_>>() })
        }
        RouteAction::Serve(serve) => json!({ "serve": format!("{serve:?}").to_lowercase() }),
        RouteAction::Redirect => {
            json!({ "redirect": route.redirect.as_ref().map(ToString::to_string) })
        }
        RouteAction::Respond => {
            json!({ "respond": route.respond.as_ref().map(|response| response.status.as_u16()) })
        }
        RouteAction::Site => {
            json!({ "site": route.site.map(|index| &*config.sites[index].name) })
        }
        RouteAction::Verify => json!({ "serve": "auth_verify" }),
    };
    json!({
        "name": &*route.name,
        "hosts": route.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "paths": route.paths.iter().map(|path| &*path.text).collect::<Vec<_>>(),
        "methods": route.methods.iter().map(http::Method::as_str).collect::<Vec<_>>(),
        "priority": route.priority,
        "action": action,
        "auth": auth_name(route.auth),
        "cache": route.cache.map(|index| &*config.caches[index].name),
        "limit": route.limits.iter().map(|&index| &*config.limits[index].name).collect::<Vec<_>>(),
        "upgrade": route.upgrade,
        "body_limit_bytes": route.body_limit_bytes,
    })
}

fn auth_name(auth: Auth) -> &'static str {
    match auth {
        Auth::Public => "public",
        Auth::Optional => "optional",
        Auth::Required => "required",
    }
}

/// The routes as the status page shows them.
pub(super) fn summarize(config: &Config) -> Vec<RouteStatus> {
    let routes = config.routes.routes().iter();
    let routes = routes.map(|route| RouteStatus {
        name: Arc::clone(&route.name),
        hosts: route.hosts.iter().map(ToString::to_string).collect(),
        methods: route.methods.iter().map(ToString::to_string).collect(),
        destination: destination(route, config),
        auth: auth_name(route.auth).to_owned(),
        limits: route
            .limits
            .iter()
            .map(|&index| Arc::clone(&config.limits[index].name))
            .collect(),
        cache: route
            .cache
            .map(|index| Arc::clone(&config.caches[index].name)),
    });
    routes.collect()
}

fn destination(route: &Route, config: &Config) -> String {
    let upstream = |index: usize| &*config.upstreams[index].name;
    match route.action {
        RouteAction::Proxy(index) => format!("upstream {}", upstream(index)),
        RouteAction::Choose => match (&route.lookup, &route.split) {
            (Some((index, _)), _) => format!("lookup {}", config.lookups[*index].name),
            (None, Some(split)) => {
                let parts = split.parts.iter();
                let parts = parts.map(|&(index, weight)| format!("{} {weight}", upstream(index)));
                format!("split {}", parts.collect::<Vec<_>>().join(", "))
            }
            (None, None) => String::new(),
        },
        RouteAction::Serve(page) => format!("page {page:?}").to_lowercase(),
        RouteAction::Redirect => {
            let target = route.redirect.as_ref().map(ToString::to_string);
            format!("redirect {}", target.unwrap_or_default())
        }
        RouteAction::Respond => {
            let status = route.respond.as_ref().map(|it| it.status.as_u16());
            format!("response {}", status.unwrap_or_default())
        }
        RouteAction::Site => {
            let site = route.site.map(|index| &*config.sites[index].name);
            format!("site {}", site.unwrap_or_default())
        }
        RouteAction::Verify => "page authverify".to_owned(),
    }
}
