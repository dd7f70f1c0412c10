//! What passwords must be like, and what hashing one may take.

use quartet_common::config::{ConfigError, all, within};
use serde::Deserialize;

/// Of what one hash of a password takes.
const MAX_MEMORY_KIB: u32 = 4 * 1024 * 1024;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passwords {
    pub min_length: usize,
    pub max_length: usize,
    pub memory_kib: u32,
    pub iterations: u32,
    pub parallelism: u32,
    pub max_concurrent: usize,
    pub max_waiting: usize,
}

impl Passwords {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        // Argon2 needs eight blocks per lane; what a wrong number of them needs is not known.
        let lanes = self.parallelism.clamp(1, 64);
        let memory = 8 * lanes..=MAX_MEMORY_KIB;
        all([
            // NIST SP 800-63B-4: at least 8 characters are required, at least 64 accepted.
            within("passwords.max_length", self.max_length, 64..=4096),
            within(
                "passwords.min_length",
                self.min_length,
                8..=self.max_length.clamp(64, 4096),
            ),
            within("passwords.parallelism", self.parallelism, 1..=64),
            within("passwords.memory_kib", self.memory_kib, memory),
            within("passwords.iterations", self.iterations, 1..=1000),
            within("passwords.max_concurrent", self.max_concurrent, 0..=1024),
            within("passwords.max_waiting", self.max_waiting, 0..=100_000),
        ])
    }
}

#[cfg(test)]
impl Passwords {
    pub(crate) const fn for_tests() -> Self {
        Self {
            min_length: 15,
            max_length: 256,
            memory_kib: 19_456,
            iterations: 2,
            parallelism: 1,
            max_concurrent: 1,
            max_waiting: 64,
        }
    }
}
