//! `GatewayClass` and `Gateway`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct ClassSpec {
    pub(in crate::kubernetes) controller_name: String,
    #[serde(default)]
    pub(in crate::kubernetes) parameters_ref: Option<Value>,
    #[serde(default, rename = "description")]
    _description: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct GatewaySpec {
    pub(in crate::kubernetes) gateway_class_name: String,
    pub(in crate::kubernetes) listeners: Vec<Listener>,
    #[serde(default)]
    pub(in crate::kubernetes) addresses: Vec<RequestedAddress>,
    #[serde(default)]
    pub(in crate::kubernetes) infrastructure: Option<Infrastructure>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct RequestedAddress {
    #[serde(default, rename = "type")]
    _kind: Option<String>,
    #[serde(default)]
    pub(in crate::kubernetes) value: Option<String>,
}

/// For what a controller creates; this one creates nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct Infrastructure {
    #[serde(default, rename = "labels")]
    _labels: BTreeMap<String, String>,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(in crate::kubernetes) parameters_ref: Option<Value>,
}

/// Fields that are not known refuse the listener, not the Gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct Listener {
    pub(in crate::kubernetes) name: String,
    pub(in crate::kubernetes) port: u16,
    pub(in crate::kubernetes) protocol: String,
    #[serde(default)]
    pub(in crate::kubernetes) hostname: Option<String>,
    #[serde(default)]
    pub(in crate::kubernetes) tls: Option<ListenerTls>,
    #[serde(default)]
    pub(in crate::kubernetes) allowed_routes: AllowedRoutes,
    #[serde(flatten)]
    pub(in crate::kubernetes) others: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::kubernetes) struct ListenerTls {
    #[serde(default)]
    pub(in crate::kubernetes) mode: TlsMode,
    #[serde(default)]
    pub(in crate::kubernetes) certificate_refs: Vec<ObjectReference>,
    #[serde(default)]
    pub(in crate::kubernetes) options: BTreeMap<String, String>,
    #[serde(flatten)]
    pub(in crate::kubernetes) others: BTreeMap<String, Value>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(in crate::kubernetes) enum TlsMode {
    #[default]
    Terminate,
    #[serde(other)]
    Other,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct ObjectReference {
    #[serde(default)]
    pub(in crate::kubernetes) group: Option<String>,
    #[serde(default)]
    pub(in crate::kubernetes) kind: Option<String>,
    pub(in crate::kubernetes) name: String,
    #[serde(default)]
    pub(in crate::kubernetes) namespace: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct AllowedRoutes {
    #[serde(default)]
    pub(in crate::kubernetes) namespaces: NamespaceRule,
    /// Empty: those that the protocol allows.
    #[serde(default)]
    pub(in crate::kubernetes) kinds: Vec<AllowedKind>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct NamespaceRule {
    #[serde(default)]
    pub(in crate::kubernetes) from: RoutesFrom,
    #[serde(default)]
    pub(in crate::kubernetes) selector: Option<Selector>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(in crate::kubernetes) enum RoutesFrom {
    All,
    Selector,
    #[default]
    Same,
    None,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct Selector {
    #[serde(default)]
    pub(in crate::kubernetes) match_labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(in crate::kubernetes) match_expressions: Vec<Expression>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct Expression {
    key: String,
    operator: Operator,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::kubernetes) struct AllowedKind {
    #[serde(default)]
    pub(in crate::kubernetes) group: Option<String>,
    pub(in crate::kubernetes) kind: String,
}

impl Selector {
    /// Without any condition, everything matches.
    pub(in crate::kubernetes) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |(name, value): (&String, &String)| labels.get(name) == Some(value);
        self.match_labels.iter().all(has)
            && self.match_expressions.iter().all(|it| it.matches(labels))
    }
}

impl Expression {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let is_listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            Operator::In => is_listed,
            Operator::NotIn => !is_listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_match_labels_and_expressions() {
        let labels = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let expression = |operator: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": "team", "operator": operator, "values": values }] });
        for (selector, team, expected) in [
            (json!({}), None, true),
            (json!({ "matchLabels": { "team": "a" } }), Some("a"), true),
            (json!({ "matchLabels": { "team": "a" } }), Some("b"), false),
            (json!({ "matchLabels": { "team": "a" } }), None, false),
            (expression("In", &["a", "b"]), Some("b"), true),
            (expression("In", &["a"]), None, false),
            (expression("NotIn", &["a"]), Some("b"), true),
            (expression("NotIn", &["a"]), None, true),
            (expression("NotIn", &["a"]), Some("a"), false),
            (expression("Exists", &[]), Some("x"), true),
            (expression("Exists", &[]), None, false),
            (expression("DoesNotExist", &[]), None, true),
            (expression("DoesNotExist", &[]), Some("x"), false),
        ] {
            let read: Selector = serde_json::from_value(selector.clone()).unwrap();
            let own: Vec<(&str, &str)> = team.iter().map(|team| ("team", *team)).collect();
            assert_eq!(read.matches(&labels(&own)), expected, "{selector} {team:?}");
        }
    }
}
