//! What a translation is made from.

use std::collections::BTreeMap;

use serde_json::Value;

use super::conditions::Observed;
use crate::{
    config::{model, overlay::RefusedEntries},
    kubernetes::objects::{Kind, ObjectName, Objects},
};

/// By their objects.
pub(crate) type Statuses = BTreeMap<(Kind, ObjectName), Value>;

/// What a translation is made from.
#[derive(Debug)]
pub(super) struct Context<'c> {
    pub(super) objects: &'c Objects,
    pub(super) settings: &'c model::Kubernetes,
    pub(super) model: &'c model::Model,
    /// Entries that did not pass the checks of the configuration.
    pub(super) refused: &'c RefusedEntries,
    /// That clients reach the gateway at, without TLS and with it.
    pub(super) own_ports: [u16; 2],
    pub(super) now: &'c str,
}

impl Context<'_> {
    pub(super) fn observed(&self, generation: i64) -> Observed<'_> {
        let now = self.now;
        Observed { generation, now }
    }
}
