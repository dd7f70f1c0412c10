//! Variables that Kubernetes sets in every pod, unless `enableServiceLinks: false`.
//!
//! A service `quartet-core` becomes `QUARTET_CORE_SERVICE_HOST`, `QUARTET_CORE_PORT=tcp://10.0.0.1:80`
//! and so on, in every pod of its namespace. They look like settings. Only name and value together keep
//! them apart: a misspelled setting is still refused, and a setting whose name ends in `_PORT` is
//! still set, unless its value is the address of a service.

use std::net::{IpAddr, SocketAddr};

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// Whether a variable describes a service, in the forms of the kubelet and of Docker's links.
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
    if name.ends_with("_SERVICE_HOST") {
        return value.parse::<IpAddr>().is_ok();
    }
    // A named port has its name at the end.
    if let Some((_, rest)) = name.rsplit_once("_SERVICE_PORT")
        && (rest.is_empty() || rest.starts_with('_'))
    {
        return value.parse::<u16>().is_ok();
    }
    is_port_link(name, value)
        || name
            .rsplit_once("_PORT_")
            .is_some_and(|(_, port)| describes_port(port, value))
}

/// `QUARTET_CORE_PORT=tcp://10.0.0.1:80`, which would also be the name of a setting `core.port`.
pub(super) fn is_port_link(name: &str, value: &str) -> bool {
    name.ends_with("_PORT") && is_address(value)
}

/// `80_TCP`, `80_TCP_PROTO`, `80_TCP_PORT` and `80_TCP_ADDR`, after the last `_PORT_`.
fn describes_port(port: &str, value: &str) -> bool {
    let mut parts = port.split('_');
    let number = parts.next().and_then(|part| part.parse::<u16>().ok());
    let protocol = parts.next().map(str::to_ascii_lowercase);
    let protocol = protocol.filter(|name| PROTOCOLS.contains(&name.as_str()));
    let (Some(number), Some(protocol)) = (number, protocol) else {
        return false;
    };
    match (parts.next(), parts.next()) {
        (None, None) => is_address(value),
        (Some("PROTO"), None) => value == protocol,
        (Some("PORT"), None) => value.parse() == Ok(number),
        (Some("ADDR"), None) => value.parse::<IpAddr>().is_ok(),
        _ => false,
    }
}

/// `tcp://10.0.0.1:80`.
fn is_address(value: &str) -> bool {
    value.split_once("://").is_some_and(|(protocol, address)| {
        PROTOCOLS.contains(&protocol) && address.parse::<SocketAddr>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_differ_from_settings_by_name_and_value() {
        for (name, value) in [
            ("QUARTET_CORE_SERVICE_HOST", "10.96.7.3"),
            ("QUARTET_CORE_SERVICE_HOST", "fd00::7"),
            ("QUARTET_CORE_SERVICE_PORT", "8081"),
            ("QUARTET_CORE_SERVICE_PORT_HTTP", "8081"),
            ("QUARTET_CORE_SERVICE_PORT_HTTP_2", "8081"),
            ("QUARTET_CORE_PORT", "tcp://10.96.7.3:8081"),
            ("QUARTET_CORE_PORT", "tcp://[fd00::7]:8081"),
            ("QUARTET_CORE_PORT_8081_TCP", "tcp://10.96.7.3:8081"),
            ("QUARTET_CORE_PORT_8081_TCP_PROTO", "tcp"),
            ("QUARTET_CORE_PORT_8081_TCP_PORT", "8081"),
            ("QUARTET_CORE_PORT_8081_TCP_ADDR", "10.96.7.3"),
            ("QUARTET_DNS_PORT_53_UDP_ADDR", "10.96.0.10"),
        ] {
            assert!(is_service_link(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("QUARTET_SERVER_PORT", "8080"),
            ("QUARTET_SERVER_PORT", "http://10.0.0.1:80"),
            ("QUARTET_SERVER_PORT", "tcp://core:80"),
            ("QUARTET_SERVER_PORT", ""),
            ("QUARTET_CORE_SERVICE_HOST", "core.internal"),
            ("QUARTET_CORE_SERVICE_PORT", "http"),
            ("QUARTET_CORE_SERVICE_PORTS", "80"),
            ("QUARTET_CORE_PORT_TCP", "tcp://10.0.0.1:80"),
            ("QUARTET_CORE_PORT_80_TCP_PORT", "81"),
            ("QUARTET_CORE_PORT_80_TCP_PROTO", "udp"),
            ("QUARTET_CORE_PORT_80_TCP_ADDR_X", "10.0.0.1"),
            ("QUARTET_CORE_PORT_80_HTTP_ADDR", "10.0.0.1"),
            ("QUARTET_SERVER_LISTEN", "10.0.0.1:80"),
            ("QUARTET_TELEMETRY_OTLP_ENDPOINT", "tcp://10.0.0.1:80"),
        ] {
            assert!(!is_service_link(name, value), "{name}={value}");
        }
    }
}
