//! `HTTPRoute`.

use serde::Deserialize;
use serde_json::Value;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct HttpRouteSpec {
    #[serde(default)]
    pub(in crate::kubernetes) parent_refs: Vec<ParentRef>,
    #[serde(default)]
    pub(in crate::kubernetes) hostnames: Vec<String>,
    #[serde(default = "one_rule")]
    pub(in crate::kubernetes) rules: Vec<Rule>,
}

/// What a route attaches to. Kept as it is for the status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct ParentRef {
    #[serde(default)]
    pub(in crate::kubernetes) group: Option<String>,
    #[serde(default)]
    pub(in crate::kubernetes) kind: Option<String>,
    #[serde(default)]
    pub(in crate::kubernetes) namespace: Option<String>,
    pub(in crate::kubernetes) name: String,
    #[serde(default)]
    pub(in crate::kubernetes) section_name: Option<String>,
    #[serde(default)]
    pub(in crate::kubernetes) port: Option<u16>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct Rule {
    #[serde(default, rename = "name")]
    _name: Option<String>,
    #[serde(default = "one_match")]
    pub(in crate::kubernetes) matches: Vec<RouteMatch>,
    #[serde(default)]
    pub(in crate::kubernetes) filters: Vec<Filter>,
    #[serde(default)]
    pub(in crate::kubernetes) backend_refs: Vec<BackendRef>,
    #[serde(default)]
    pub(in crate::kubernetes) timeouts: Option<Timeouts>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct RouteMatch {
    #[serde(default)]
    pub(in crate::kubernetes) path: PathMatch,
    #[serde(default)]
    pub(in crate::kubernetes) headers: Vec<HeaderMatch>,
    #[serde(default)]
    pub(in crate::kubernetes) query_params: Vec<HeaderMatch>,
    #[serde(default)]
    pub(in crate::kubernetes) method: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct PathMatch {
    #[serde(default = "prefix", rename = "type")]
    pub(in crate::kubernetes) kind: MatchKind,
    #[serde(default = "slash")]
    pub(in crate::kubernetes) value: String,
}

/// Of a header, or of a parameter of the query.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct HeaderMatch {
    #[serde(default, rename = "type")]
    pub(in crate::kubernetes) kind: MatchKind,
    pub(in crate::kubernetes) name: String,
    pub(in crate::kubernetes) value: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(in crate::kubernetes) enum MatchKind {
    #[default]
    Exact,
    PathPrefix,
    #[serde(other)]
    Other,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct Filter {
    #[serde(rename = "type")]
    pub(in crate::kubernetes) kind: String,
    #[serde(default)]
    pub(in crate::kubernetes) request_header_modifier: Option<HeaderModifier>,
    #[serde(default)]
    pub(in crate::kubernetes) response_header_modifier: Option<HeaderModifier>,
    #[serde(default)]
    pub(in crate::kubernetes) request_mirror: Option<Mirrored>,
    #[serde(default)]
    pub(in crate::kubernetes) request_redirect: Option<Redirected>,
    #[serde(default)]
    pub(in crate::kubernetes) url_rewrite: Option<Rewritten>,
    #[serde(default, rename = "cors")]
    _cors: Option<Value>,
    #[serde(default, rename = "externalAuth")]
    _external_auth: Option<Value>,
    #[serde(default, rename = "extensionRef")]
    _extension_ref: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct HeaderModifier {
    #[serde(default)]
    pub(in crate::kubernetes) set: Vec<HeaderValue>,
    #[serde(default)]
    pub(in crate::kubernetes) add: Vec<HeaderValue>,
    #[serde(default)]
    pub(in crate::kubernetes) remove: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::kubernetes) struct HeaderValue {
    pub(in crate::kubernetes) name: String,
    pub(in crate::kubernetes) value: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct Mirrored {
    pub(in crate::kubernetes) backend_ref: BackendRef,
    #[serde(default)]
    pub(in crate::kubernetes) percent: Option<u32>,
    #[serde(default)]
    pub(in crate::kubernetes) fraction: Option<Fraction>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::kubernetes) struct Fraction {
    pub(in crate::kubernetes) numerator: u32,
    #[serde(default = "hundred")]
    pub(in crate::kubernetes) denominator: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct Redirected {
    #[serde(default)]
    pub(in crate::kubernetes) scheme: Option<String>,
    #[serde(default)]
    pub(in crate::kubernetes) hostname: Option<String>,
    #[serde(default)]
    pub(in crate::kubernetes) path: Option<Modified>,
    #[serde(default)]
    pub(in crate::kubernetes) port: Option<u16>,
    #[serde(default)]
    pub(in crate::kubernetes) status_code: Option<u16>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct Rewritten {
    #[serde(default)]
    pub(in crate::kubernetes) hostname: Option<String>,
    #[serde(default)]
    pub(in crate::kubernetes) path: Option<Modified>,
}

/// Another path.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct Modified {
    #[serde(rename = "type")]
    pub(in crate::kubernetes) kind: String,
    #[serde(default)]
    pub(in crate::kubernetes) replace_full_path: Option<String>,
    #[serde(default)]
    pub(in crate::kubernetes) replace_prefix_match: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct BackendRef {
    #[serde(default)]
    pub(in crate::kubernetes) group: Option<String>,
    #[serde(default)]
    pub(in crate::kubernetes) kind: Option<String>,
    pub(in crate::kubernetes) name: String,
    #[serde(default)]
    pub(in crate::kubernetes) namespace: Option<String>,
    #[serde(default)]
    pub(in crate::kubernetes) port: Option<u16>,
    #[serde(default)]
    pub(in crate::kubernetes) weight: Option<u32>,
    #[serde(default)]
    pub(in crate::kubernetes) filters: Vec<Value>,
}

/// Durations as in GEP-2257, such as `1m30s`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct Timeouts {
    #[serde(default)]
    pub(in crate::kubernetes) request: Option<String>,
    #[serde(default)]
    pub(in crate::kubernetes) backend_request: Option<String>,
}

impl Default for PathMatch {
    fn default() -> Self {
        Self {
            kind: prefix(),
            value: slash(),
        }
    }
}

fn one_rule() -> Vec<Rule> {
    vec![Rule {
        matches: one_match(),
        ..Rule::default()
    }]
}

fn one_match() -> Vec<RouteMatch> {
    vec![RouteMatch::default()]
}

fn prefix() -> MatchKind {
    MatchKind::PathPrefix
}

fn slash() -> String {
    "/".to_owned()
}

fn hundred() -> u32 {
    100
}
