//! What objects of a cluster add to the configuration of the files.
//!
//! It passes the same checks. An entry that does not pass is refused alone, with the object that it is from:
//! no object can keep the others, or the files, from being in force.

use std::collections::BTreeMap;

use quartet_common::config::Settings;

use super::{
    Config, model,
    validate::{Violations, validate},
};

/// Each pass refuses at least one object; what it was checked with may bring others to light.
const MAX_PASSES: usize = 8;

/// Entries by their names, which no file can have.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    pub(crate) routes: BTreeMap<String, model::Route>,
    pub(crate) upstreams: BTreeMap<String, model::Upstream>,
    pub(crate) certificates: BTreeMap<String, model::Certificate>,
}

/// Why entries are refused, by their names.
pub(crate) type RefusedEntries = BTreeMap<String, String>;

/// What makes entries for the settings of the files, without those that are refused.
pub(crate) type Overlaid<'o> = &'o mut dyn FnMut(&model::Model, &RefusedEntries) -> Overlay;

impl Overlay {
    fn add_to(self, model: &mut model::Model) {
        model.routes.extend(self.routes);
        model.upstreams.extend(self.upstreams);
        model.certificates.extend(self.certificates);
    }

    fn names(&self) -> Vec<(String, String)> {
        let named = |table: &str, name: &String| (format!("{table}.{name}"), name.clone());
        let routes = self.routes.keys().map(|name| named("routes", name));
        let upstreams = self.upstreams.keys().map(|name| named("upstreams", name));
        let certificates = self.certificates.keys();
        let certificates = certificates.map(|name| named("certificates", name));
        routes.chain(upstreams).chain(certificates).collect()
    }
}

/// # Errors
/// Every violation of the files.
pub(super) fn validate_with(
    model: model::Model,
    settings: &Settings,
    overlaid: Overlaid<'_>,
) -> Result<Config, Violations> {
    let mut refused = RefusedEntries::new();
    for _ in 0..MAX_PASSES {
        let overlay = overlaid(&model, &refused);
        let names = overlay.names();
        let mut whole = model.clone();
        overlay.add_to(&mut whole);
        let violations = match validate(whole, settings.clone()) {
            Ok(config) => return Ok(config),
            Err(violations) => violations,
        };
        let mut others = Violations::new();
        let before = refused.len();
        for (key, message) in violations {
            match entry_of(&key, &names) {
                Some((name, rest)) => {
                    let text = format!("{rest} {message}").trim_start().to_owned();
                    refused.entry(name).or_insert(text);
                }
                None => others.push((key, message)),
            }
        }
        if !others.is_empty() || refused.len() == before {
            return Err(others);
        }
    }
    let message = "the objects of the cluster cannot be combined with the configuration";
    Err(vec![("kubernetes".to_owned(), message.to_owned())])
}

/// The entry that a key belongs to, and what follows its name.
fn entry_of(key: &str, names: &[(String, String)]) -> Option<(String, String)> {
    let matching = names.iter().filter_map(|(prefix, name)| {
        let rest = key.strip_prefix(prefix.as_str())?;
        let is_whole = rest.is_empty() || rest.starts_with(['.', '[']);
        is_whole.then_some((prefix.len(), name, rest))
    });
    let longest = matching.max_by_key(|(length, ..)| *length);
    longest.map(|(_, name, rest)| (name.clone(), rest.trim_start_matches('.').to_owned()))
}
