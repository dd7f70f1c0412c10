//! Pauses after failed logins, per account and per client address. Never a lock: a lock would let
//! anybody shut anybody out. For the same reason the pause of an account does not hold for
//! networks from which its owner was let in lately: there only the failures from that network
//! count, by the same measure.
//!
//! Attempts on one account follow each other within one replica (see [`Turn`]): each sees the
//! failures before it. What can happen at the same time is one attempt per replica on one
//! account, so with n replicas up to n guesses pass where one should; and attempts of one address
//! on several accounts, as many as hashes run at once.
//!
//! [`Turn`]: crate::domain::hasher::Turn

use std::{net::IpAddr, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    config,
    domain::{desk::Desk, secrets::MasterKey},
    error::Error,
    store::{
        sessions,
        throttles::{self, ThrottleRow},
    },
};

/// Something that may fail, and under which keys its failure is counted.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    account: Option<Account>,
    network: String,
}

#[derive(Clone, Debug)]
struct Account {
    email: String,
    /// For the failures from everywhere.
    key: String,
    /// For the failures from this network.
    key_here: String,
}

impl Attempt {
    /// Counted for the account, for the account from this network, and for the client's address.
    /// The account is kept as a keyed hash: the table names no person.
    pub(crate) fn on_account(master_key: &MasterKey, email: &str, address: IpAddr) -> Self {
        let (email, network) = (email.to_ascii_lowercase(), network(address));
        let hash = |parts: &[&[u8]]| {
            let hash = master_key.derive("throttle", parts);
            format!("account:{}", URL_SAFE_NO_PAD.encode(hash))
        };
        let account = Account {
            key: hash(&[email.as_bytes()]),
            key_here: hash(&[email.as_bytes(), network.as_bytes()]),
            email,
        };
        Self {
            account: Some(account),
            network,
        }
    }

    /// Counted for the client's address alone.
    pub(crate) fn from_address(address: IpAddr) -> Self {
        Self {
            account: None,
            network: network(address),
        }
    }

    /// The word by which attempts on one account take their turns.
    pub(crate) fn lane(&self) -> Option<&str> {
        self.account.as_ref().map(|account| account.key.as_str())
    }

    /// # Errors
    /// `Throttled` with the time to wait.
    pub(crate) async fn check(&self, desk: Desk<'_>) -> Result<(), Error> {
        let (settings, now) = (&desk.config.throttle, desk.now());
        let mut db = desk.pool.acquire().await?;
        let rows = throttles::by_keys(&mut db, &self.keys()).await?;
        let mut wait = Duration::ZERO;
        for row in &rows {
            let of_account = self.lane() == Some(row.key.as_str());
            let pause = pause(row, settings, row.key != self.address_key(), now);
            if pause > wait && !(of_account && self.is_known(&mut db, settings, now).await?) {
                wait = pause;
            }
        }
        if wait.is_zero() {
            return Ok(());
        }
        let retry_after_seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Err(Error::Throttled {
            retry_after_seconds,
        })
    }

    pub(crate) async fn failed(&self, desk: Desk<'_>) -> Result<(), Error> {
        let now = desk.now();
        let forgotten = now - Duration::from_secs(desk.config.throttle.forget_after_seconds);
        let mut db = desk.pool.acquire().await?;
        throttles::add_failure(&mut db, &self.keys(), now, forgotten).await?;
        Ok(())
    }

    /// The account's failures are forgotten; those of the address are not, or one good account
    /// would let its owner try the passwords of others for ever.
    pub(crate) async fn succeeded(&self, db: &mut PgConnection) -> Result<(), Error> {
        if let Some(account) = &self.account {
            // In the order in which failures are counted, or the two could wait for each other.
            let mut keys = [&account.key, &account.key_here];
            keys.sort_unstable();
            for key in keys {
                throttles::delete(db, key).await?;
            }
        }
        Ok(())
    }

    fn keys(&self) -> Vec<String> {
        let account = self.account.iter();
        account
            .flat_map(|account| [account.key.clone(), account.key_here.clone()])
            .chain([self.address_key()])
            .collect()
    }

    fn address_key(&self) -> String {
        format!("address:{}", self.network)
    }

    /// Whether the account was used from this network lately. Asked by address, so that an unknown
    /// one costs the same.
    async fn is_known(
        &self,
        db: &mut PgConnection,
        settings: &config::Throttle,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let Some(account) = &self.account else {
            return Ok(false);
        };
        let since = now - Duration::from_secs(settings.known_address_seconds);
        let known = sessions::addresses(db, &account.email, since).await?;
        Ok(known
            .iter()
            .filter_map(|address| address.parse().ok())
            .any(|address| network(address) == self.network))
    }
}

fn pause(
    row: &ThrottleRow,
    settings: &config::Throttle,
    on_account: bool,
    now: DateTime<Utc>,
) -> Duration {
    let (free, longest) = if on_account {
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
