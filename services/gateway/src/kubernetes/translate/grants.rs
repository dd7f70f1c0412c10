//! References to other namespaces, which a `ReferenceGrant` there has to permit.

use crate::kubernetes::objects::{ObjectName, Objects};

const GATEWAY: &str = "gateway.networking.k8s.io";

/// Whether an object of `kind` in `from` may refer to `target`, which is of `target_kind` in the core group.
pub(super) fn permits(
    objects: &Objects,
    (kind, from): (&str, &str),
    (target_kind, target): (&str, &ObjectName),
) -> bool {
    if from == target.namespace {
        return true;
    }
    let grants = objects.grants.values();
    let mut grants = grants.filter(|grant| grant.metadata.namespace == target.namespace);
    grants.any(|grant| {
        let Ok(spec) = &grant.spec else { return false };
        let is_from = spec
            .from
            .iter()
            .any(|it| it.group == GATEWAY && it.kind == kind && it.namespace == from);
        let is_to = spec.to.iter().any(|to| {
            let is_named = to.name.as_ref().is_none_or(|name| *name == target.name);
            to.group.is_empty() && to.kind == target_kind && is_named
        });
        is_from && is_to
    })
}
