//! Which certificate a client gets, by the server name that it asks for.
//!
//! There are two tables. One has the certificates from files and follows the configuration in force; the
//! other one has those that were issued for this gateway, and outlives reloads. Files win: what an
//! operator has put there is meant. Both are replaced as a whole, so a handshake takes no lock.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use rustls::{
    SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::names::NameMap;

/// The certificates of the public listeners. One for the life of the process.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    files: ArcSwap<FileTable>,
    issued: ArcSwap<NameMap<Arc<IssuedCertificate>>>,
    /// Held while a table is replaced, so that no change is lost.
    changing: Mutex<()>,
}

/// What the configuration in force says.
#[derive(Debug, Default)]
pub(crate) struct FileTable {
    /// For each name, certificates with different kinds of keys.
    names: NameMap<Vec<Arc<CertifiedKey>>>,
    /// For clients that ask for no name.
    default: Option<Arc<CertifiedKey>>,
}

/// A certificate that was issued for this gateway.
#[derive(Debug)]
pub(crate) struct IssuedCertificate {
    pub(crate) names: Vec<String>,
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) not_after: DateTime<Utc>,
}

impl Certificates {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Puts an issued certificate in force for these names, such as `example.org` or `*.example.org`, in
    /// place of those issued before. Handshakes that begin from now on use it.
    pub(crate) fn set_issued(
        &self,
        names: &[String],
        key: Arc<CertifiedKey>,
        not_after: DateTime<Utc>,
    ) {
        let names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let issued = Arc::new(IssuedCertificate {
            names,
            key,
            not_after,
        });
        self.change_issued(|table| {
            for name in &issued.names {
                table.insert(name, Arc::clone(&issued));
            }
        });
    }

    /// The name has no issued certificate any more.
    pub(crate) fn remove_issued(&self, name: &str) {
        self.change_issued(|table| {
            table.remove(&name.to_ascii_lowercase());
        });
    }

    /// Each issued certificate that is in force for a name, once.
    pub(crate) fn issued(&self) -> Vec<Arc<IssuedCertificate>> {
        let table = self.issued.load();
        let mut all: Vec<Arc<IssuedCertificate>> = table.values().cloned().collect();
        all.sort_by(|one, other| one.names.cmp(&other.names));
        all.dedup_by(|one, other| Arc::ptr_eq(one, other));
        all
    }

    /// Puts the certificates from files in force that `build` returns. What it reads is in order with
    /// that of other callers.
    pub(crate) fn set_files(&self, build: impl FnOnce() -> FileTable) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.files.store(Arc::new(build()));
    }

    /// The certificate for a client that asks for this name, and understands signatures of these schemes.
    /// `None`: there is none, and the client is refused.
    pub(crate) fn find(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let files = self.files.load();
        let Some(name) = name else {
            return files.default.clone();
        };
        let lower;
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = name.to_ascii_lowercase();
            &lower
        } else {
            name
        };
        if let Some(keys) = files.names.get(name) {
            let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
            return keys.iter().find(fits).or(keys.first()).cloned();
        }
        let issued = self.issued.load();
        issued.get(name).map(|issued| Arc::clone(&issued.key))
    }

    fn change_issued(&self, change: impl FnOnce(&mut NameMap<Arc<IssuedCertificate>>)) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = NameMap::clone(&self.issued.load());
        change(&mut table);
        self.issued.store(Arc::new(table));
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name(), hello.signature_schemes())
    }
}

impl FileTable {
    /// Adds a certificate for one of its names. Of several for a name, clients get the first that they
    /// understand.
    pub(crate) fn add(&mut self, name: &str, key: Arc<CertifiedKey>) {
        self.names.entry(name).push(key);
    }

    pub(crate) fn set_default(&mut self, key: Arc<CertifiedKey>) {
        self.default = Some(key);
    }
}
