//! `[cors.*]`, `[maintenance]`, `[security_headers]`, and what routes say about these.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode, header};
use ipnet::IpNet;

use super::{
    checker::{Checker, DAY_SECONDS},
    values::{check_list, parse_method, unknown},
};
use crate::{
    config::model,
    request::OriginPattern,
    routing::{
        AllowedHeaders, ClientNetworks, Cors, Fault, FaultEffect, GatewayPage, Guards, Maintenance,
        NetworkSet, SecurityHeaders,
    },
};

/// A longer list is a mistake.
const MAX_NETWORKS: usize = 10_000;
const MAX_DELAY_MS: u64 = 60_000;

/// What routes refer to, with the defaults.
pub(super) struct GuardTables<'m> {
    model: &'m model::Model,
    cors: BTreeMap<&'m str, Option<Arc<Cors>>>,
    maintenance: Arc<Maintenance>,
    pub(super) security_headers: Option<Arc<SecurityHeaders>>,
}

impl<'m> GuardTables<'m> {
    pub(super) fn check(model: &'m model::Model, checker: &mut Checker) -> Self {
        let cors = model.cors.iter();
        let cors = cors.map(|(name, cors)| {
            let checked = check_cors(name, cors, checker).map(Arc::new);
            (name.as_str(), checked)
        });
        let cors = cors.collect();
        let defaults = &model.defaults;
        check_networks(
            "defaults",
            &defaults.allowed_networks,
            &defaults.denied_networks,
            checker,
        );
        let headers = &model.security_headers;
        let values = check_headers(
            "security_headers",
            &SecurityHeaderTexts::of(headers),
            checker,
        );
        Self {
            model,
            cors,
            maintenance: Arc::new(check_maintenance(&model.maintenance, checker)),
            security_headers: values.filter(|_| headers.enabled).map(Arc::new),
        }
    }

    pub(super) fn of_route(
        &self,
        key: &str,
        route: &model::Route,
        checker: &mut Checker,
    ) -> Option<Guards> {
        let cors = self.cors(key, route, checker);
        let networks = self.networks(key, route, checker);
        let fault = route.fault.as_ref();
        let fault = fault.map(|fault| self.fault(&format!("{key}.fault"), fault, checker));
        let security_headers = self.headers(key, route, checker);
        let https_port = self.model.tls.port();
        Some(Guards {
            https_port: route.redirect_to_https.then_some(https_port),
            cors: cors?,
            networks,
            maintenance: self.maintenance(route),
            fault: match fault {
                None => None,
                Some(fault) => Some(fault?),
            },
            security_headers: security_headers?,
        })
    }

    /// An empty name is none.
    fn cors(
        &self,
        key: &str,
        route: &model::Route,
        checker: &mut Checker,
    ) -> Option<Option<Arc<Cors>>> {
        let (key, name) = match &route.cors {
            Some(name) => (format!("{key}.cors"), name),
            None => ("defaults.cors".to_owned(), &self.model.defaults.cors),
        };
        if name.is_empty() {
            return Some(None);
        }
        let Some(known) = self.cors.get(name.as_str()) else {
            checker.error(key, unknown("cors", name, self.cors.keys().copied()));
            return None;
        };
        known.clone().map(Some)
    }

    fn networks(
        &self,
        key: &str,
        route: &model::Route,
        checker: &mut Checker,
    ) -> Option<Arc<ClientNetworks>> {
        let defaults = &self.model.defaults;
        let (allowed, denied) = (&route.allowed_networks, &route.denied_networks);
        let list = |own: &Option<Vec<IpNet>>| own.clone().unwrap_or_default();
        check_networks(key, &list(allowed), &list(denied), checker);
        let allowed = allowed.as_ref().unwrap_or(&defaults.allowed_networks);
        let denied = denied.as_ref().unwrap_or(&defaults.denied_networks);
        let networks = ClientNetworks {
            allowed: (!allowed.is_empty()).then(|| NetworkSet::new(allowed)),
            denied: NetworkSet::new(denied),
        };
        let is_used = networks.allowed.is_some() || !networks.denied.is_empty();
        is_used.then(|| Arc::new(networks))
    }

    /// The health page stays: who asks it asks for the gateway.
    fn maintenance(&self, route: &model::Route) -> Option<Arc<Maintenance>> {
        let is_health = route.serve == Some(GatewayPage::Health);
        let general = self.model.maintenance.enabled && !is_health;
        let is_closed = route.maintenance.unwrap_or(general);
        is_closed.then(|| Arc::clone(&self.maintenance))
    }

    fn fault(&self, key: &str, fault: &model::Fault, checker: &mut Checker) -> Option<Fault> {
        if !self.model.server.fault_injection {
            checker.error(key, "is only possible with server.fault_injection = true");
            return None;
        }
        checker.range(&format!("{key}.percent"), fault.percent.into(), 1, 100);
        let effect = match (fault.status, fault.delay_ms, fault.abort) {
            (Some(status), None, false) => {
                checker.range(&format!("{key}.status"), status.into(), 400, 599);
                FaultEffect::Status(StatusCode::from_u16(status).ok()?)
            }
            (None, Some(delay_ms), false) => {
                checker.range(&format!("{key}.delay_ms"), delay_ms, 1, MAX_DELAY_MS);
                FaultEffect::Delay(Duration::from_millis(delay_ms))
            }
            (None, None, true) => FaultEffect::Abort,
            _ => {
                checker.error(key, "must have one of `status`, `delay_ms` and `abort`");
                return None;
            }
        };
        Some(Fault {
            percent: fault.percent,
            effect,
        })
    }

    fn headers(
        &self,
        key: &str,
        route: &model::Route,
        checker: &mut Checker,
    ) -> Option<Option<Arc<SecurityHeaders>>> {
        use model::RouteSecurityHeaders::{Enabled, Table};
        let general = &self.model.security_headers;
        match &route.security_headers {
            None => Some(self.security_headers.clone()),
            Some(Enabled(false)) => Some(None),
            Some(Enabled(true)) => {
                // The values themselves were checked above.
                let texts = SecurityHeaderTexts::of(general);
                let values = check_headers("security_headers", &texts, &mut Checker::default());
                Some(values.map(Arc::new))
            }
            Some(Table(own)) => {
                let texts = SecurityHeaderTexts::of(general).with(own);
                let key = format!("{key}.security_headers");
                check_headers(&key, &texts, checker).map(|values| Some(Arc::new(values)))
            }
        }
    }
}

fn check_cors(name: &str, cors: &model::Cors, checker: &mut Checker) -> Option<Cors> {
    let key = format!("cors.{name}");
    checker.name(&key, name);
    if cors.origins.is_empty() {
        checker.error(format!("{key}.origins"), "must have at least one origin");
    }
    checker.range(
        &format!("{key}.max_age_seconds"),
        cors.max_age_seconds,
        0,
        DAY_SECONDS,
    );
    for (field, list) in [
        ("origins", &cors.origins),
        ("methods", &cors.methods),
        ("request_headers", &cors.request_headers),
        ("exposed_headers", &cors.exposed_headers),
    ] {
        let is_any = list.iter().any(|text| text == "*");
        if is_any && cors.credentials {
            let rule = "must not have `*` together with credentials: browsers refuse it";
            checker.error(format!("{key}.{field}"), rule);
        } else if is_any && list.len() > 1 {
            checker.error(format!("{key}.{field}"), "must have nothing beside `*`");
        }
    }
    let origins = check_list(
        &key,
        "origins",
        &cors.origins,
        OriginPattern::parse,
        checker,
    );
    let methods = match cors.methods.as_slice() {
        [] => Some(None),
        [any] if any == "*" => Some(Some(Vec::new())),
        methods => check_list(&key, "methods", methods, parse_method, checker).map(Some),
    };
    let request_headers = match cors.request_headers.as_slice() {
        [any] if any == "*" => Some(AllowedHeaders::Any),
        names => check_list(&key, "request_headers", names, parse_name, checker)
            .map(AllowedHeaders::Listed),
    };
    let exposed = match cors.exposed_headers.as_slice() {
        [any] if any == "*" => Some(vec!["*".to_owned()]),
        names => check_list(&key, "exposed_headers", names, parse_name, checker)
            .map(|names| names.iter().map(ToString::to_string).collect()),
    };
    let exposed = exposed?.join(", ");
    Some(Cors {
        origins: origins?,
        methods: methods?,
        request_headers: request_headers?,
        exposed_headers: (!exposed.is_empty())
            .then(|| HeaderValue::try_from(exposed).ok())
            .flatten(),
        credentials: cors.credentials,
        max_age: Duration::from_secs(cors.max_age_seconds),
        private_network: cors.private_network,
    })
}

fn parse_name(text: &str) -> Result<HeaderName, String> {
    HeaderName::try_from(text).map_err(|_| "is not a valid header name".to_owned())
}

fn check_networks(table: &str, allowed: &[IpNet], denied: &[IpNet], checker: &mut Checker) {
    for (field, list) in [("allowed_networks", allowed), ("denied_networks", denied)] {
        if list.len() > MAX_NETWORKS {
            let rule = format!("must have at most {MAX_NETWORKS} networks");
            checker.error(format!("{table}.{field}"), rule);
        }
    }
}

fn check_maintenance(maintenance: &model::Maintenance, checker: &mut Checker) -> Maintenance {
    let seconds = maintenance.retry_after_seconds;
    checker.range("maintenance.retry_after_seconds", seconds, 1, DAY_SECONDS);
    check_networks("maintenance", &maintenance.allowed_networks, &[], checker);
    Maintenance {
        retry_after_seconds: seconds,
        allowed: NetworkSet::new(&maintenance.allowed_networks),
        text: maintenance.text.clone(),
    }
}

/// The values as written.
struct SecurityHeaderTexts<'t>([(&'static str, HeaderName, &'t str); 6]);

impl<'t> SecurityHeaderTexts<'t> {
    fn of(table: &'t model::SecurityHeaders) -> Self {
        let permissions = HeaderName::from_static("permissions-policy");
        Self([
            (
                "content_type_options",
                header::X_CONTENT_TYPE_OPTIONS,
                &table.content_type_options,
            ),
            (
                "frame_options",
                header::X_FRAME_OPTIONS,
                &table.frame_options,
            ),
            (
                "referrer_policy",
                header::REFERRER_POLICY,
                &table.referrer_policy,
            ),
            ("permissions_policy", permissions, &table.permissions_policy),
            (
                "content_security_policy",
                header::CONTENT_SECURITY_POLICY,
                &table.content_security_policy,
            ),
            (
                "strict_transport_security",
                header::STRICT_TRANSPORT_SECURITY,
                &table.strict_transport_security,
            ),
        ])
    }

    fn with(self, own: &'t model::SecurityHeaderValues) -> Self {
        let own = [
            &own.content_type_options,
            &own.frame_options,
            &own.referrer_policy,
            &own.permissions_policy,
            &own.content_security_policy,
            &own.strict_transport_security,
        ];
        let mut texts = self.0;
        for ((_, _, text), own) in texts.iter_mut().zip(own) {
            if let Some(own) = own {
                *text = own;
            }
        }
        Self(texts)
    }
}

fn check_headers(
    table: &str,
    texts: &SecurityHeaderTexts<'_>,
    checker: &mut Checker,
) -> Option<SecurityHeaders> {
    let used = texts.0.iter().filter(|(_, _, text)| !text.is_empty());
    let parsed: Vec<_> = used
        .map(|(key, name, text)| {
            let value = HeaderValue::try_from(*text);
            let value = value.map_err(|_| "is not a valid header value".to_owned());
            checker
                .ok(&format!("{table}.{key}"), value)
                .map(|value| (name.clone(), value))
        })
        .collect();
    let all = parsed.into_iter().collect::<Option<Vec<_>>>()?;
    let (over_tls, always): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|(name, _)| *name == header::STRICT_TRANSPORT_SECURITY);
    Some(SecurityHeaders {
        always,
        over_tls: over_tls.into_iter().next().map(|(_, value)| value),
    })
}
