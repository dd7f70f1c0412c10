//! `[kubernetes]`, and addresses of upstreams with `discovery = "kubernetes"`.

use std::net::IpAddr;

use super::{checker::Checker, values::unknown};
use crate::{
    config::{Host, ServicePort, UpstreamTarget, model},
    routing::HostPattern,
};

/// Each of them is watched on its own.
const MAX_NAMESPACES: usize = 32;
const MAX_LIST: usize = 100;
/// Of a route; objects may add to those of the settings.
const MAX_LIMITS: usize = 4;
const MAX_NAME_BYTES: usize = 253;

pub(super) fn check(model: &model::Model, checker: &mut Checker) {
    let settings = &model.kubernetes;
    if settings.enabled && !cfg!(feature = "kubernetes") {
        let rule = "is not possible: this gateway was built without the feature `kubernetes`";
        checker.error("kubernetes.enabled", rule);
    }
    let needs = |it: &model::Upstream| it.discovery == model::UpstreamDiscovery::Kubernetes;
    let upstreams = model.upstreams.iter().filter(|(_, it)| needs(it));
    for (name, _) in upstreams.filter(|_| !settings.enabled) {
        let rule = "needs kubernetes.enabled";
        checker.error(format!("upstreams.{name}.discovery"), rule);
    }
    check_bounds(settings, checker);
    let (domain, path) = settings.controller_name.split_once('/').unwrap_or_default();
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !is_name(domain) || path.is_empty() || !path.bytes().all(is_path) {
        let rule = "must be a domain and a path, such as example.org/gateway";
        checker.error("kubernetes.controller_name", rule);
    }
    let names = [
        ("namespaces", &settings.namespaces, MAX_NAMESPACES),
        ("trusted_namespaces", &settings.trusted_namespaces, MAX_LIST),
    ];
    for (key, namespaces, most) in names {
        let key = format!("kubernetes.{key}");
        if namespaces.len() > most {
            checker.error(&*key, format!("must have at most {most} names"));
        }
        let is_any = |name: &String| name == "*" && key.ends_with("trusted_namespaces");
        if !namespaces.iter().all(|name| is_label(name) || is_any(name)) {
            checker.error(key, "must be names of namespaces");
        }
    }
    let is_gateway = |text: &String| {
        let (namespace, name) = text.split_once('/').unwrap_or_default();
        is_label(namespace) && is_name(name)
    };
    if settings.gateways.len() > MAX_LIST || !settings.gateways.iter().all(is_gateway) {
        let rule = format!("must be up to {MAX_LIST} of the form namespace/name");
        checker.error("kubernetes.gateways", rule);
    }
    let class = settings.gateway_class.as_ref();
    if class.is_some_and(|name| !is_name(name)) {
        checker.error(
            "kubernetes.gateway_class",
            "must be the name of a GatewayClass",
        );
    }
    let is_address = |text: &String| text.parse::<IpAddr>().is_ok() || is_host(text);
    if settings.addresses.len() > 16 || !settings.addresses.iter().all(is_address) {
        let rule = "must be up to 16 IP addresses and host names";
        checker.error("kubernetes.addresses", rule);
    }
    if settings.limit.iter().count() > MAX_LIMITS {
        let rule = format!("must have at most {MAX_LIMITS} names");
        checker.error("kubernetes.limit", rule);
    }
    let mut limits = settings.limit.iter();
    if let Some(name) = limits.find(|name| !model.limits.contains_key(*name)) {
        let known: Vec<&str> = model.limits.keys().map(String::as_str).collect();
        checker.error(
            "kubernetes.limit",
            unknown("limit", name, known.into_iter()),
        );
    }
}

fn check_bounds(settings: &model::Kubernetes, checker: &mut Checker) {
    checker.ranges(
        "kubernetes",
        &[
            ("http_port", settings.http_port.into(), 1, u16::MAX.into()),
            ("max_objects", settings.max_objects as u64, 1, 1_000_000),
            (
                "max_object_bytes",
                settings.max_object_bytes as u64,
                1_024,
                16_777_216,
            ),
            ("max_routes", settings.max_routes as u64, 1, 100_000),
            ("pause_ms", settings.pause_ms, 10, 60_000),
        ],
    );
}

/// `service.namespace:port`, with the port's name or number.
pub(super) fn parse_address(text: &str, weight: u32) -> Result<UpstreamTarget, String> {
    let invalid = || {
        "must be service.namespace:port, with the name or number of a port of the Service"
            .to_owned()
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
    let (service, namespace) = host.split_once('.').ok_or_else(invalid)?;
    let is_port = port
        .parse::<u16>()
        .map_or_else(|_| is_label(port), |port| port > 0);
    if !is_label(service) || !is_label(namespace) || !is_port {
        return Err(invalid());
    }
    Ok(UpstreamTarget {
        host: Host::Kubernetes(ServicePort {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            port: port.to_owned(),
        }),
        port: 0,
        weight,
    })
}

fn is_host(text: &str) -> bool {
    HostPattern::parse(text).is_ok() && !text.starts_with('*')
}

/// RFC 1123, of namespaces and Services.
fn is_label(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(is_allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Labels with dots between them.
fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use crate::config::load::Sources;

    #[test]
    fn settings_are_checked() {
        for (line, is_valid) in [
            ("controller_name = \"example.org/gateway\"", true),
            ("controller_name = \"gateway\"", false),
            ("controller_name = \"example.org/\"", false),
            ("gateway_class = \"public\"", true),
            ("gateway_class = \"Public\"", false),
            ("gateways = [\"infra/public\"]", true),
            ("gateways = [\"public\"]", false),
            ("namespaces = [\"a\", \"b-1\"]", true),
            ("namespaces = [\"*\"]", false),
            ("trusted_namespaces = [\"*\"]", true),
            ("addresses = [\"192.0.2.1\", \"lb.example.org\"]", true),
            ("addresses = [\"*.example.org\"]", false),
            ("http_port = 0", false),
            ("auth = \"public\"", true),
            ("auth = \"open\"", false),
            ("limit = \"core\"", true),
            ("limit = \"other\"", false),
        ] {
            let result = Sources::of_test(&format!("[kubernetes]\n{line}\n"));
            assert_eq!(result.is_ok(), is_valid, "{line}: {:?}", result.err());
        }
    }

    #[test]
    fn addresses_of_services_have_a_namespace_and_a_port() {
        let check = |address: &str| {
            let text = format!(
                "[kubernetes]\nenabled = true\n[upstreams.u]\ndiscovery = \"kubernetes\"\naddresses = [{address}]\n"
            );
            Sources::of_test(&text).map_err(|errors| errors.to_string())
        };
        for good in [
            "\"a.b:80\"",
            "\"a.b:http\"",
            "{ address = \"a.b:80\", weight = 2 }",
        ] {
            let config = check(good).unwrap();
            let upstream = config.upstreams.iter().find(|it| *it.name == *"u").unwrap();
            let host = format!("{:?}", upstream.targets[0].host);
            assert!(host.starts_with("Kubernetes"), "{host}");
        }
        for bad in [
            "\"a:80\"",
            "\"a.b\"",
            "\"a.b.c:80\"",
            "\"a.b:0\"",
            "{ srv = \"a.b\" }",
        ] {
            let error = check(bad).unwrap_err();
            assert!(error.contains("service.namespace:port"), "{error}");
        }
    }
}
