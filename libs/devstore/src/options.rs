use std::path::PathBuf;

/// The configuration of one server.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of everything; created if absent, used by one server at a time.
    pub data: PathBuf,
    pub access_key: String,
    pub secret_key: String,
    /// Buckets that exist from the start.
    pub buckets: Vec<String>,
    /// Buckets that exist from the start and whose objects are public.
    pub public_buckets: Vec<String>,
    /// For tests of programs that must bear with other stores.
    pub quirks: Quirks,
    /// Origins allowed by CORS; `*` allows any.
    pub cors_origins: Vec<String>,
}

/// What some S3-compatible stores do otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quirks {
    /// `If-Match` and `If-None-Match` of a PUT have no effect, as with Garage.
    pub ignores_write_conditions: bool,
    /// Checksums are not kept.
    pub keeps_no_checksums: bool,
}

impl Options {
    /// Options for `data` with the given key pair, no buckets, any origin.
    pub fn new(
        data: impl Into<PathBuf>,
        access_key: impl Into<String>,
        secret_key: impl Into<String>,
    ) -> Self {
        Self {
            data: data.into(),
            access_key: access_key.into(),
            secret_key: secret_key.into(),
            buckets: Vec::new(),
            public_buckets: Vec::new(),
            quirks: Quirks::default(),
            cors_origins: vec!["*".to_owned()],
        }
    }
}
