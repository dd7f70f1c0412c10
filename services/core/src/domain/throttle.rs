//! Pauses after failed logins, per account and per client address. Never a lock: a lock would let
//! anybody shut anybody out.
//!
//! Attempts that run at the same time are not counted against each other before they fail; the
//! queue of the hasher bounds how many that can be.

use std::{net::IpAddr, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::{
    config,
    domain::secrets::MasterKey,
    error::Error,
    store::throttles::{self, ThrottleRow},
};

/// The two keys under which one attempt is counted.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    account: String,
    address: String,
}

impl Attempt {
    /// The account is kept as a keyed hash: the table names no person.
    pub(crate) fn new(master_key: &MasterKey, email: &str, address: IpAddr) -> Self {
        let email = email.to_ascii_lowercase();
        let hash = master_key.derive("throttle", &[email.as_bytes()]);
        Self {
            account: format!("account:{}", URL_SAFE_NO_PAD.encode(hash)),
            address: format!("address:{}", network(address)),
        }
    }

    /// # Errors
    /// `Throttled` with the time to wait.
    pub(crate) async fn check(
        &self,
        pool: &PgPool,
        settings: &config::Throttle,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let rows = throttles::by_keys(pool, [&self.account, &self.address]).await?;
        let wait = rows
            .iter()
            .map(|row| self.pause(row, settings, now))
            .max()
            .unwrap_or_default();
        if wait.is_zero() {
            return Ok(());
        }
        let retry_after_seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Err(Error::Throttled {
            retry_after_seconds,
        })
    }

    pub(crate) async fn failed(
        &self,
        pool: &PgPool,
        settings: &config::Throttle,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let forgotten = now - Duration::from_secs(settings.forget_after_seconds);
        throttles::add_failure(pool, [&self.account, &self.address], now, forgotten).await?;
        Ok(())
    }

    /// The account's failures are forgotten; those of the address are not, or one good account
    /// would let its owner try the passwords of others for ever.
    pub(crate) async fn succeeded(&self, pool: &PgPool) -> Result<(), Error> {
        throttles::delete(pool, &self.account).await?;
        Ok(())
    }

    fn pause(
        &self,
        row: &ThrottleRow,
        settings: &config::Throttle,
        now: DateTime<Utc>,
    ) -> Duration {
        let (free, longest) = if row.key == self.account {
            (
                settings.account_free_failures,
                settings.account_max_delay_seconds,
            )
        } else {
            (
                settings.address_free_failures,
                settings.address_max_delay_seconds,
            )
        };
        let delay = delay_seconds(row.failures, free, longest);
        let until = row.last_failure_at + Duration::from_secs(delay.into());
        (until - now).to_std().unwrap_or_default()
    }
}

/// 0 up to the free failures, then 1, 2, 4, ... up to the longest.
fn delay_seconds(failures: i32, free: u32, longest: u32) -> u32 {
    let beyond = u32::try_from(failures).unwrap_or(0).saturating_sub(free);
    match beyond.checked_sub(1) {
        None => 0,
        Some(doublings) => 1_u32
            .checked_shl(doublings)
            .filter(|s| *s != 0)
            .unwrap_or(u32::MAX)
            .min(longest),
    }
}

/// Whoever has one IPv6 address usually has its whole /64.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound() {
        let delays: Vec<u32> = [0, 5, 6, 7, 8, 11, 12, 100]
            .map(|n| delay_seconds(n, 5, 60))
            .into();
        assert_eq!(delays, [0, 0, 1, 2, 4, 32, 60, 60]);
    }

    #[test]
    fn neighbours_in_a_64_are_one_client() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
