//! The documents that routes validate against.

use std::sync::Arc;

use quartet_common::config::ConfigError;

use super::Snapshot;
use crate::{
    config::{Config, UpstreamConfig},
    document::{CompileSettings, DocumentSlot, DocumentSource},
    routing::RouteAction,
};

/// The slots of the upstreams whose documents routes validate against; with the documents in force, while
/// they come from the same source.
///
/// # Errors
/// When a document of the configuration cannot be used.
pub(super) fn documents(
    config: &Config,
    previous: Option<&Snapshot>,
) -> Result<Vec<Option<Arc<DocumentSlot>>>, ConfigError> {
    let mut wanted = vec![false; config.upstreams.len()];
    for route in config
        .routes
        .routes()
        .iter()
        .filter(|it| it.validate.is_on())
    {
        if let RouteAction::Proxy(index) = route.action {
            wanted[index] = true;
        }
        let parts = route.split.iter().flat_map(|split| &split.parts);
        parts.for_each(|(index, _)| wanted[*index] = true);
    }
    let slot = |(upstream, is_wanted): (&UpstreamConfig, bool)| {
        if !is_wanted {
            return Ok(None);
        }
        let source = DocumentSource {
            upstream: Arc::clone(&upstream.name),
            path: upstream.openapi.clone(),
            document: upstream.document.clone(),
            settings: CompileSettings {
                formats: config.model.validation.formats.clone(),
            },
        };
        let mut before = previous
            .iter()
            .flat_map(|snapshot| snapshot.document_slots());
        if let Some(known) = before.find(|slot| slot.source == source) {
            return Ok(Some(Arc::clone(known)));
        }
        let key = format!("upstreams.{}.document", upstream.name);
        let slot = DocumentSlot::new(source).map_err(|error| ConfigError::invalid(&key, error))?;
        Ok(Some(Arc::new(slot)))
    };
    config.upstreams.iter().zip(wanted).map(slot).collect()
}
