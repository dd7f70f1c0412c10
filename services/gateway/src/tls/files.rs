//! Certificates in files, which are read again when they change.
//!
//! A certificate and its key are two files, and who renews them replaces one after the other, or swaps the
//! directory that both are in, as Kubernetes does. So the files themselves are checked, whatever way
//! leads to them, and a pair counts once it fits. One that does not fit, or cannot be read, in two checks
//! in a row is refused: the last good one stays in force, and operators are alerted.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use rustls::{
    SignatureAlgorithm,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use sha2::{Digest as _, Sha256};

use super::{certificate::Chain, names::covers};
use crate::config::{model::CertificateObject, tls::CertificateConfig};

/// Of one file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// A file that was written this short a time ago may be written again without another time stamp.
const SETTLED: Duration = Duration::from_secs(2);

/// The two files of a table `[certificates.NAME]`.
#[derive(Debug)]
pub(crate) struct CertificateFiles {
    pub(crate) settings: CertificateConfig,
    loaded: ArcSwap<LoadedCertificate>,
    /// Never held while files are read: the status page would wait for them too.
    seen: Mutex<FileState>,
    /// Held by who checks.
    turn: Mutex<()>,
}

/// Those of a configuration, in its order.
pub(crate) type AllCertificateFiles = Arc<[Arc<CertificateFiles>]>;

/// A certificate that fits its key.
#[derive(Debug)]
pub(crate) struct LoadedCertificate {
    pub(super) key: Arc<CertifiedKey>,
    /// That clients get it for, in lower case.
    pub(crate) names: Vec<String>,
    pub(crate) subject: String,
    pub(crate) not_before: DateTime<Utc>,
    pub(crate) not_after: DateTime<Utc>,
}

/// What a look at the files has brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FileCheck {
    Unchanged,
    Replaced,
    /// They are again what is in force.
    Restored,
    /// For the first time in this state.
    Refused(String),
}

/// What is known of the files.
#[derive(Debug)]
struct FileState {
    /// Of files that need not be read again until it changes.
    stamps: Option<[Stamp; 2]>,
    in_force: [u8; 32],
    /// What could not be used in the last check.
    failed: Option<[u8; 32]>,
    /// Why what is in the files is not in force.
    problem: Option<String>,
}

/// Says whether a file is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The content of both files.
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl CertificateFiles {
    /// # Errors
    /// The setting whose file cannot be used, and why.
    pub(crate) fn load(settings: CertificateConfig) -> Result<Self, (&'static str, String)> {
        let pair = Pair::read(&settings)?;
        let loaded = parse(&pair, &settings)?;
        let seen = FileState {
            stamps: None,
            in_force: pair.digest(),
            failed: None,
            problem: None,
        };
        Ok(Self {
            settings,
            loaded: ArcSwap::from_pointee(loaded),
            seen: Mutex::new(seen),
            turn: Mutex::default(),
        })
    }

    pub(crate) fn loaded(&self) -> Arc<LoadedCertificate> {
        self.loaded.load_full()
    }

    /// Why what is in the files is not in force.
    pub(crate) fn problem(&self) -> Option<String> {
        lock(&self.seen).problem.clone()
    }

    /// Looks whether the files have changed, and puts them in force if they can be used. May block.
    pub(crate) fn check(&self) -> FileCheck {
        let settings = &self.settings;
        if settings.object.is_some() {
            // A changed object is another certificate of another snapshot.
            return FileCheck::Unchanged;
        }
        let _turn = lock(&self.turn);
        let stamps = stamps(settings);
        if stamps.is_some() && stamps == lock(&self.seen).stamps {
            return FileCheck::Unchanged;
        }
        let read = Pair::read(settings);
        let mut seen = lock(&self.seen);
        let digest = match &read {
            Ok(pair) => pair.digest(),
            Err((_, error)) => Sha256::digest(error).into(),
        };
        if digest == seen.in_force {
            seen.stamps = stamps.filter(Stamp::are_settled);
            seen.failed = None;
            let restored = seen.problem.take().is_some();
            return if restored {
                FileCheck::Restored
            } else {
                FileCheck::Unchanged
            };
        }
        match read.and_then(|pair| parse(&pair, settings)) {
            Ok(loaded) => {
                self.loaded.store(Arc::new(loaded));
                *seen = FileState {
                    stamps: stamps.filter(Stamp::are_settled),
                    in_force: digest,
                    failed: None,
                    problem: None,
                };
                FileCheck::Replaced
            }
            Err((setting, error)) => {
                let again = seen.failed.replace(digest) == Some(digest);
                let error = format!("{setting} {error}");
                if !again || seen.problem.as_ref() == Some(&error) {
                    return FileCheck::Unchanged;
                }
                seen.problem = Some(error.clone());
                FileCheck::Refused(error)
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LoadedCertificate {
    /// Of several for one name, the first that a client understands is used: short signatures before long
    /// ones, and of one kind the certificate that is valid longest.
    pub(super) fn rank(&self) -> (u8, std::cmp::Reverse<DateTime<Utc>>) {
        let kind = match self.key.key.algorithm() {
            SignatureAlgorithm::ECDSA | SignatureAlgorithm::ED25519 => 0,
            _ => 1,
        };
        (kind, std::cmp::Reverse(self.not_after))
    }
}

impl Stamp {
    /// Of the file that a path leads to.
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            file: (metadata.dev(), metadata.ino()),
            size_bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    fn are_settled(stamps: &[Self; 2]) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs());
        let settled = i64::try_from(now.saturating_sub(SETTLED.as_secs())).unwrap_or(i64::MAX);
        stamps
            .iter()
            .all(|stamp| stamp.modified.0 < settled && stamp.changed.0 < settled)
    }
}

fn stamps(settings: &CertificateConfig) -> Option<[Stamp; 2]> {
    let certificate = Stamp::of(&settings.certificate_path)?;
    Some([certificate, Stamp::of(&settings.key_path)?])
}

/// Whether a certificate and its key of an object can be used for these hosts.
///
/// # Errors
/// Why they cannot; never with a part of the key.
pub(crate) fn check_object(object: &CertificateObject, hosts: &[String]) -> Result<(), String> {
    let settings = CertificateConfig {
        name: "object".into(),
        certificate_path: "tls.crt".into(),
        key_path: "tls.key".into(),
        hosts: hosts.to_vec(),
        object: None,
    };
    let parsed = parse(&Pair::of(object), &settings);
    parsed.map(drop).map_err(|(_, error)| error)
}

impl Pair {
    fn of(object: &CertificateObject) -> Self {
        Self {
            certificate: object.certificate.to_vec(),
            key: object.key.to_vec(),
        }
    }

    /// # Errors
    /// As [`CertificateFiles::load`].
    fn read(settings: &CertificateConfig) -> Result<Self, (&'static str, String)> {
        if let Some(object) = &settings.object {
            return Ok(Self::of(object));
        }
        let read = |setting, path| read(path).map_err(|error| (setting, error));
        Ok(Self {
            certificate: read("certificate_path", &settings.certificate_path)?,
            key: read("key_path", &settings.key_path)?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update((self.certificate.len() as u64).to_be_bytes());
        hash.update(&self.certificate);
        hash.update(&self.key);
        hash.finalize().into()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", path.display());
    // Nothing else has an end.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(format!("{}: must be a file", path.display()));
    }
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = "must have at most 1 MiB";
        return Err(format!("{}: {message}", path.display()));
    }
    Ok(bytes)
}

/// # Errors
/// As [`CertificateFiles::load`]; never with a part of the key.
fn parse(
    pair: &Pair,
    settings: &CertificateConfig,
) -> Result<LoadedCertificate, (&'static str, String)> {
    let of_certificate = |rule: String| {
        let path = settings.certificate_path.display();
        ("certificate_path", format!("{path}: {rule}"))
    };
    let of_key = |rule: String| {
        let path = settings.key_path.display();
        ("key_path", format!("{path}: {rule}"))
    };
    let chain = Chain::parse(&pair.certificate).map_err(of_certificate)?;
    let names = names(&chain, &settings.hosts).map_err(of_certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&pair.key)
        .map_err(|_| of_key("must be a private key in PEM, not encrypted".to_owned()))?;
    let key = chain
        .with_key(key)
        .map_err(|error| of_key(format!("must be the key of the certificate: {error}")))?;
    Ok(LoadedCertificate {
        key,
        names,
        subject: chain.subject,
        not_before: chain.not_before,
        not_after: chain.not_after,
    })
}

/// Those that clients get the certificate for.
fn names(chain: &Chain, hosts: &[String]) -> Result<Vec<String>, String> {
    if hosts.is_empty() {
        if chain.names.is_empty() {
            return Err("has no DNS names (subjectAltName)".to_owned());
        }
        return Ok(chain.names.clone());
    }
    let is_covered = |host: &String| chain.names.iter().any(|name| covers(name, host));
    match hosts.iter().find(|host| !is_covered(host)) {
        Some(host) => Err(format!("is not for `{host}` of hosts")),
        None => Ok(hosts.to_vec()),
    }
}
