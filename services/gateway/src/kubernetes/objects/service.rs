//! What a route leads to, and what may lead there: `Service`, `EndpointSlice`, `Secret`, `ReferenceGrant`
//! and `Namespace`. Of these, fields that do not matter here are passed over.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct ServiceSpec {
    #[serde(default, rename = "type")]
    pub(in crate::kubernetes) kind: String,
    #[serde(default)]
    pub(in crate::kubernetes) ports: Vec<ServicePortSpec>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct ServicePortSpec {
    /// Empty, if there is only one.
    #[serde(default)]
    pub(in crate::kubernetes) name: String,
    pub(in crate::kubernetes) port: u16,
    #[serde(default = "tcp")]
    pub(in crate::kubernetes) protocol: String,
    #[serde(default)]
    pub(in crate::kubernetes) app_protocol: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct EndpointSlice {
    #[serde(default)]
    pub(in crate::kubernetes) address_type: String,
    #[serde(default)]
    pub(in crate::kubernetes) endpoints: Option<Vec<Endpoint>>,
    #[serde(default)]
    pub(in crate::kubernetes) ports: Option<Vec<SlicePort>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct Endpoint {
    #[serde(default)]
    pub(in crate::kubernetes) addresses: Vec<String>,
    #[serde(default)]
    pub(in crate::kubernetes) conditions: EndpointConditions,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct EndpointConditions {
    /// Unknown means ready.
    #[serde(default)]
    pub(in crate::kubernetes) ready: Option<bool>,
    #[serde(default)]
    pub(in crate::kubernetes) terminating: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct SlicePort {
    #[serde(default)]
    pub(in crate::kubernetes) name: Option<String>,
    #[serde(default)]
    pub(in crate::kubernetes) port: Option<u16>,
    #[serde(default = "tcp")]
    pub(in crate::kubernetes) protocol: String,
}

/// Its data is never printed.
#[derive(Clone, Deserialize)]
pub(in crate::kubernetes) struct Secret {
    #[serde(default, rename = "type")]
    pub(in crate::kubernetes) kind: String,
    /// In base64.
    #[serde(default)]
    pub(in crate::kubernetes) data: BTreeMap<String, String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::kubernetes) struct GrantSpec {
    pub(in crate::kubernetes) from: Vec<GrantFrom>,
    pub(in crate::kubernetes) to: Vec<GrantTo>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::kubernetes) struct GrantFrom {
    pub(in crate::kubernetes) group: String,
    pub(in crate::kubernetes) kind: String,
    pub(in crate::kubernetes) namespace: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::kubernetes) struct GrantTo {
    pub(in crate::kubernetes) group: String,
    pub(in crate::kubernetes) kind: String,
    /// All of the namespace.
    #[serde(default)]
    pub(in crate::kubernetes) name: Option<String>,
}

/// Its labels matter, which are metadata.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(in crate::kubernetes) struct NamespaceObject {}

impl Endpoint {
    /// Whether it takes new requests.
    pub(in crate::kubernetes) fn is_ready(&self) -> bool {
        let conditions = self.conditions;
        conditions.ready.unwrap_or(true) && !conditions.terminating.unwrap_or(false)
    }
}

fn tcp() -> String {
    "TCP".to_owned()
}
