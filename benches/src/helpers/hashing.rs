//! The bound of password logins: one argon2id after the other on one core.

use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use argon2::{Algorithm, Argon2, Block, Params, Version};

/// How expensive one hash is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HashParameters {
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
}

impl FromStr for HashParameters {
    type Err = anyhow::Error;

    /// Reads `$argon2id$v=19$m=19456,t=2,p=1$...`.
    fn from_str(phc: &str) -> anyhow::Result<Self> {
        let wrong = || anyhow!("not an argon2id hash");
        let rest = phc.strip_prefix("$argon2id$v=19$").ok_or_else(wrong)?;
        let settings = rest.split('$').next().ok_or_else(wrong)?;
        let value = |name: &str| {
            let found = settings.split(',').find_map(|part| part.strip_prefix(name));
            found
                .ok_or_else(wrong)?
                .parse::<u32>()
                .context("read the hash's parameters")
        };
        Ok(Self {
            memory_kib: value("m=")?,
            passes: value("t=")?,
            lanes: value("p=")?,
        })
    }
}

/// Hashes for a while and prints how many hashes per second that were.
pub(super) fn run(words: &[String]) -> anyhow::Result<()> {
    let [phc, seconds] = words else {
        anyhow::bail!("parameters and seconds are needed")
    };
    let HashParameters {
        memory_kib,
        passes,
        lanes,
    } = phc.parse()?;
    let params =
        Params::new(memory_kib, passes, lanes, None).map_err(|error| anyhow!("{error}"))?;
    // Taken once: a bound pays for no memory.
    let mut memory = vec![Block::default(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut hash = [0_u8; 32];
    let duration = Duration::from_secs(seconds.parse()?);
    let begin = Instant::now();
    let mut hashes = 0_u64;
    while begin.elapsed() < duration {
        let salt = u128::from(hashes).to_le_bytes();
        argon2
            .hash_password_into_with_memory(b"tangerine violin moss", &salt, &mut hash, &mut memory)
            .map_err(|error| anyhow!("{error}"))?;
        hashes += 1;
    }
    println!(
        "{}",
        crate::wrk::count(hashes) / begin.elapsed().as_secs_f64()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::HashParameters;

    #[test]
    fn reads_the_parameters_of_a_stored_hash() {
        let parsed: HashParameters = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA"
            .parse()
            .unwrap();
        assert_eq!(
            parsed,
            HashParameters {
                memory_kib: 19456,
                passes: 2,
                lanes: 1
            }
        );
        assert!("$2b$12$abc".parse::<HashParameters>().is_err());
    }
}
