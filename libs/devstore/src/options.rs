use std::path::PathBuf;

/// The configuration of one server, and its part of the command line.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Directory for the objects; created if absent, used by one server at a time.
    #[arg(long, env = "QUARTET_DEVSTORE_DATA", default_value = ".quartet/s3")]
    pub data: PathBuf,
    /// Access key that clients sign with.
    #[arg(long, env = "QUARTET_DEVSTORE_ACCESS_KEY", default_value = "quartet")]
    pub access_key: String,
    /// Secret key that clients sign with.
    #[arg(
        long,
        env = "QUARTET_DEVSTORE_SECRET_KEY",
        default_value = "quartet-development",
        hide_env_values = true
    )]
    pub secret_key: String,
    /// Bucket to create at start; repeatable, comma-separated in the environment.
    #[arg(
        long = "bucket",
        env = "QUARTET_DEVSTORE_BUCKETS",
        value_delimiter = ','
    )]
    pub buckets: Vec<String>,
    /// Bucket to create at start, with publicly readable objects; repeatable.
    #[arg(
        long = "public-bucket",
        env = "QUARTET_DEVSTORE_PUBLIC_BUCKETS",
        value_delimiter = ','
    )]
    pub public_buckets: Vec<String>,
    /// Origin allowed by CORS, `*` for any; repeatable.
    #[arg(
        long = "cors-origin",
        env = "QUARTET_DEVSTORE_CORS_ORIGINS",
        value_delimiter = ',',
        default_value = "*"
    )]
    pub cors_origins: Vec<String>,
    /// For tests of programs that must bear with other stores.
    #[arg(skip)]
    pub quirks: Quirks,
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
            cors_origins: vec!["*".to_owned()],
            quirks: Quirks::default(),
        }
    }
}
