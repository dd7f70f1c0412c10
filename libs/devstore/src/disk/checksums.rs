//! Digests by the algorithms of S3, in base64.

use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::dto::Checksum;
use serde::{Deserialize, Serialize};

/// Digests that a client has sent, or asked the store to keep.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checksums {
    pub(crate) crc32: Option<String>,
    pub(crate) crc32c: Option<String>,
    pub(crate) crc64nvme: Option<String>,
    pub(crate) sha1: Option<String>,
    pub(crate) sha256: Option<String>,
    /// `COMPOSITE` for a digest over the digests of the parts.
    pub(crate) kind: Option<String>,
}

impl Checksums {
    pub(super) fn fields_mut(&mut self) -> [(&'static str, &mut Option<String>); 5] {
        [
            ("CRC32", &mut self.crc32),
            ("CRC32C", &mut self.crc32c),
            ("CRC64NVME", &mut self.crc64nvme),
            ("SHA1", &mut self.sha1),
            ("SHA256", &mut self.sha256),
        ]
    }

    fn fields(&self) -> [(&'static str, Option<&str>); 5] {
        [
            ("CRC32", self.crc32.as_deref()),
            ("CRC32C", self.crc32c.as_deref()),
            ("CRC64NVME", self.crc64nvme.as_deref()),
            ("SHA1", self.sha1.as_deref()),
            ("SHA256", self.sha256.as_deref()),
        ]
    }

    /// The algorithms of the digests that are set.
    pub(crate) fn algorithms(&self) -> Vec<String> {
        let set = self.fields().into_iter().filter(|(_, it)| it.is_some());
        set.map(|(name, _)| name.to_owned()).collect()
    }

    /// The digest by `algorithm`, whatever the case of its name.
    pub(super) fn get(&self, algorithm: &str) -> Option<&str> {
        let mut fields = self.fields().into_iter();
        fields
            .find(|(name, _)| name.eq_ignore_ascii_case(algorithm))?
            .1
    }

    /// Sets a digest. One by an unknown algorithm is ignored.
    pub(crate) fn set(&mut self, algorithm: &str, digest: String) {
        for (name, slot) in self.fields_mut() {
            if name.eq_ignore_ascii_case(algorithm) {
                *slot = Some(digest);
                return;
            }
        }
    }

    /// The first algorithm whose digest is set here and differs in `actual`.
    pub(super) fn mismatch(&self, actual: &Self) -> Option<&'static str> {
        let mut pairs = self.fields().into_iter().zip(actual.fields());
        let differs = |promised: Option<&str>, actual| promised.is_some() && promised != actual;
        pairs.find_map(|((name, promised), (_, actual))| differs(promised, actual).then_some(name))
    }
}

impl From<Checksum> for Checksums {
    fn from(sums: Checksum) -> Self {
        Self {
            crc32: sums.checksum_crc32,
            crc32c: sums.checksum_crc32c,
            crc64nvme: sums.checksum_crc64nvme,
            sha1: sums.checksum_sha1,
            sha256: sums.checksum_sha256,
            kind: sums.checksum_type.map(|kind| kind.as_str().to_owned()),
        }
    }
}

/// A hasher for these algorithms (`SHA256`, ...), whatever the case of their names.
pub(super) fn hasher(algorithms: &[String]) -> ChecksumHasher {
    let wants = |name: &str| algorithms.iter().any(|it| it.eq_ignore_ascii_case(name));
    ChecksumHasher {
        crc32: wants("CRC32").then(Crc32::new),
        crc32c: wants("CRC32C").then(Crc32c::new),
        sha1: wants("SHA1").then(Sha1::new),
        sha256: wants("SHA256").then(Sha256::new),
        crc64nvme: wants("CRC64NVME").then(Crc64Nvme::new),
    }
}
