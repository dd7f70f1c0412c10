//! Which certificate a client gets, by the server name that it asks for.
//!
//! There are two tables. One has the certificates from files and follows the configuration in force; the
//! other one has those that were issued for this gateway, and outlives reloads. Files win: what an
//! operator has put there is meant. Both are replaced as a whole, so a handshake takes no lock.

use std::sync::{Arc, Mutex, PoisonError};

use super::{files::CertificateFiles, names::NameMap};
use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use rustls::{
    SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

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
    /// The same from objects of a cluster, whose owners must not take a name from the operator.
    objects: NameMap<Vec<Arc<CertifiedKey>>>,
    /// For clients that ask for no name.
    default: Option<Arc<CertifiedKey>>,
}

/// A certificate that was issued for this gateway.
#[derive(Debug)]
pub(crate) struct IssuedCertificate {
    /// Of the table that asks for it.
    pub(crate) table: Arc<str>,
    /// That clients get it for, such as `example.org` or `*.example.org`.
    pub(crate) names: Vec<String>,
    pub(crate) key: Arc<CertifiedKey>,
    /// As the certificate says it.
    pub(crate) subject: String,
    pub(crate) not_before: DateTime<Utc>,
    pub(crate) not_after: DateTime<Utc>,
}

impl Certificates {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Puts an issued certificate in force for its names, in place of those issued before. Handshakes that
    /// begin from now on use it.
    pub(crate) fn set_issued(&self, mut issued: IssuedCertificate) {
        for name in &mut issued.names {
            name.make_ascii_lowercase();
        }
        let issued = Arc::new(issued);
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
        // The same one lies side by side, also if another one has the same names.
        all.sort_by_cached_key(|issued| (issued.names.clone(), Arc::as_ptr(issued)));
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
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let best = |keys: &Vec<Arc<CertifiedKey>>| keys.iter().find(fits).or(keys.first()).cloned();
        if let Some(keys) = files.names.get(name) {
            return best(keys);
        }
        if let Some(issued) = self.issued.load().get(name) {
            return Some(Arc::clone(&issued.key));
        }
        files.objects.get(name).and_then(best)
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
    /// `default` names the files of the certificate for clients that ask for no name.
    pub(crate) fn of(files: &[Arc<CertificateFiles>], default: Option<&str>) -> Self {
        let mut table = Self::default();
        let mut loaded: Vec<_> = files
            .iter()
            .map(|files| (&files.settings, files.loaded()))
            .collect();
        loaded.sort_by_key(|(_, it)| it.rank());
        for (settings, certificate) in loaded {
            let table_name = &settings.name;
            let names = match settings.object {
                None => &mut table.names,
                Some(_) => &mut table.objects,
            };
            for name in &certificate.names {
                names.entry(name).push(Arc::clone(&certificate.key));
            }
            if default == Some(&**table_name) {
                table.default = Some(Arc::clone(&certificate.key));
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use quartet_ca::{Authority, KeyKind, Request, Validity};
    use rustls::{
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    };

    use super::*;
    use crate::config::tls::CertificateConfig;

    struct Issuer(Authority);

    impl Issuer {
        fn new() -> Self {
            let day = Validity::of(std::time::Duration::from_hours(24));
            Self(Authority::create("test", day).unwrap())
        }

        fn key(&self, names: &[&str]) -> Arc<CertifiedKey> {
            let issued = self.0.issue(&Request::of(names)).unwrap();
            let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
            let provider = aws_lc_rs::default_provider();
            let chain = vec![certificate.unwrap()];
            Arc::new(CertifiedKey::from_der(chain, key, &provider).unwrap())
        }

        fn files(&self, directory: &Path, name: &str, kind: KeyKind) -> Arc<CertificateFiles> {
            let names = ["files.test", "*.files.test"];
            let mut request = Request::of(&names);
            request.key = kind;
            let issued = self.0.issue(&request).unwrap();
            let [certificate_path, key_path] =
                ["pem", "key"].map(|end| directory.join(format!("{name}.{end}")));
            std::fs::write(&certificate_path, issued.certificate).unwrap();
            std::fs::write(&key_path, issued.key).unwrap();
            let settings = CertificateConfig {
                name: name.into(),
                certificate_path,
                key_path,
                hosts: Vec::new(),
                object: None,
            };
            Arc::new(CertificateFiles::load(settings).unwrap())
        }
    }

    const ALL: [SignatureScheme; 2] = [
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::ECDSA_NISTP256_SHA256,
    ];

    #[test]
    fn files_come_before_what_was_issued() {
        let (issuer, directory) = (Issuer::new(), tempfile::tempdir().unwrap());
        let table = Certificates::new();
        let found = |name: &str| table.find(Some(name), &ALL);
        let issue = |names: &[&str], key: &Arc<CertifiedKey>| {
            table.set_issued(IssuedCertificate {
                table: "t".into(),
                names: names.iter().map(|&name| name.to_owned()).collect(),
                key: Arc::clone(key),
                subject: String::new(),
                not_before: DateTime::UNIX_EPOCH,
                not_after: DateTime::UNIX_EPOCH,
            });
        };
        let (first, second) = (issuer.key(&["a"]), issuer.key(&["b"]));
        issue(&["A.test", "*.a.test"], &first);
        issue(&["x.files.test"], &first);
        let is = |found: Option<Arc<CertifiedKey>>, key: &Arc<CertifiedKey>| {
            found.is_some_and(|found| Arc::ptr_eq(&found, key))
        };
        assert!(is(found("a.test"), &first) && is(found("X.a.test"), &first));
        assert!(is(found("x.files.test"), &first));
        assert!(found("b.test").is_none() && table.find(None, &ALL).is_none());
        let files = [issuer.files(directory.path(), "one", KeyKind::Ecdsa)];
        table.set_files(|| FileTable::of(&files, Some("one")));
        let of_files = Arc::clone(&files[0].loaded().key);
        // Also with a wildcard.
        assert!(is(found("x.files.test"), &of_files));
        assert!(is(table.find(None, &ALL), &of_files));
        assert!(is(found("a.test"), &first));
        issue(&["a.test"], &second);
        assert!(is(found("a.test"), &second) && is(found("x.a.test"), &first));
        assert_eq!(table.issued().len(), 3);
        table.remove_issued("*.A.test");
        assert!(found("x.a.test").is_none() && found("a.test").is_some());
        table.set_files(FileTable::default);
        assert!(is(found("x.files.test"), &first));
    }

    #[test]
    fn clients_get_what_they_understand() {
        let (issuer, directory) = (Issuer::new(), tempfile::tempdir().unwrap());
        let files = [
            issuer.files(directory.path(), "rsa", KeyKind::Rsa),
            issuer.files(directory.path(), "ecdsa", KeyKind::Ecdsa),
        ];
        let table = Certificates::new();
        table.set_files(|| FileTable::of(&files, None));
        for (schemes, expected) in [
            (&ALL[..], &files[1]),
            (&ALL[..1], &files[0]),
            (&ALL[1..], &files[1]),
            // The handshake then says why it fails.
            (&[], &files[1]),
        ] {
            let found = table.find(Some("files.test"), schemes).unwrap();
            assert!(Arc::ptr_eq(&found, &expected.loaded().key), "{schemes:?}");
        }
    }
}
