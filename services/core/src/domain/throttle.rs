//! Delays after failed attempts, per account and per client network. Never a lockout: a lockout
//! would let anyone lock out the owner of an account.
//!
//! Each failure is counted under up to three keys:
//!
//! | key | counts failures of | applies to |
//! |---|---|---|
//! | account | one account, from everywhere | clients the account was not used from recently |
//! | account and network | one account, from one network | that network |
//! | network | all accounts, from one network | that network |
//!
//! The second row is why a guesser cannot lock the owner out: on a network from which the account
//! was used recently, only failures from that network count, by the same measure.
//!
//! Attempts on one account run one after the other within a replica (see [`Permit`]), so each sees
//! the failures before it. Bounds on what still runs in parallel: one attempt per replica on one
//! account, so with n replicas up to n guesses pass where one should; and attempts by one client on
//! several accounts, four for each hash that may run at once.

use std::{net::IpAddr, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::PgConnection;

use crate::{
    config,
    domain::{
        Context,
        crypto::{
            hasher::{Permit, Verification},
            master_key::MasterKey,
        },
    },
    error::Error,
    store::{
        sessions,
        throttles::{self, ThrottleRow},
    },
};

/// Something that may fail, and the keys under which its failure is counted.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    account: Option<Account>,
    network: String,
}

#[derive(Clone, Debug)]
struct Account {
    email: String,
    key: String,
    network_key: String,
}

impl Attempt {
    /// An attempt to prove knowledge of an account's password. The table names no person: accounts
    /// are stored as keyed hashes.
    pub(crate) fn on_account(master_key: &MasterKey, email: &str, client_ip: IpAddr) -> Self {
        let (email, network) = (email.to_ascii_lowercase(), network_of(client_ip));
        let hash = |parts: &[&[u8]]| {
            let hash = master_key.derive("throttle", parts);
            format!("account:{}", URL_SAFE_NO_PAD.encode(hash))
        };
        let account = Account {
            key: hash(&[email.as_bytes()]),
            network_key: hash(&[email.as_bytes(), network.as_bytes()]),
            email,
        };
        Self {
            account: Some(account),
            network,
        }
    }

    /// An attempt that counts against the client's network alone.
    pub(crate) fn from_client(client_ip: IpAddr) -> Self {
        Self {
            account: None,
            network: network_of(client_ip),
        }
    }

    /// Waits for the right to make this attempt. Check the attempt again then: others may have
    /// failed meanwhile.
    ///
    /// # Errors
    /// `TooBusy`.
    pub(crate) async fn permit(&self, ctx: &Context) -> Result<Permit, Error> {
        ctx.hasher.permit(self.account_key(), &self.network).await
    }

    /// Compares the password, and counts a failure. Both go on when the client disconnects, with the
    /// permit: otherwise hashes would cost a client nothing that leaves while they run.
    pub(crate) async fn verify(
        &self,
        ctx: &Context,
        mut permit: Permit,
        password: SecretString,
        stored: Option<String>,
    ) -> Result<(Permit, Verification), Error> {
        let (attempt, own) = (self.clone(), ctx.clone());
        let work = async move {
            let verification = permit.verify(password, stored).await?;
            if verification == Verification::Invalid {
                attempt.record_failure(&own).await?;
            }
            Ok((permit, verification))
        };
        quartet_service::detached(&ctx.detached, work)
            .await
            .map_err(|_| Error::Crypto("password work panicked"))?
    }

    fn account_key(&self) -> Option<&str> {
        self.account.as_ref().map(|account| account.key.as_str())
    }

    /// # Errors
    /// `Throttled` with the time to wait.
    pub(crate) async fn check(&self, ctx: &Context) -> Result<(), Error> {
        let (settings, now) = (&ctx.config.throttle, ctx.clock.now());
        let mut db = quartet_db::read(&ctx.db).await?;
        let rows = throttles::by_keys(&mut db, &self.keys()).await?;
        let mut wait = Duration::ZERO;
        for row in &rows {
            let limit = if row.key == self.network_key() {
                Limit::of_network(settings)
            } else {
                Limit::of_account(settings)
            };
            let remaining = limit.remaining(row, now);
            let everywhere = self.account_key() == Some(row.key.as_str());
            if remaining <= wait {
                continue;
            }
            if everywhere && self.is_known_network(&mut db, settings, now).await? {
                continue;
            }
            wait = remaining;
        }
        if wait.is_zero() {
            return Ok(());
        }
        let retry_after_seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Err(Error::Throttled {
            retry_after_seconds,
        })
    }

    pub(crate) async fn record_failure(&self, ctx: &Context) -> Result<(), Error> {
        let now = ctx.clock.now();
        let forgotten = now - Duration::from_secs(ctx.config.throttle.forget_after_seconds);
        let mut db = quartet_db::write(&ctx.db).await?;
        throttles::add_failure(&mut db, &self.keys(), now, forgotten).await?;
        Ok(db.commit().await?)
    }

    /// Forgets the failures of the account. Those of the network stay: otherwise a guesser with one
    /// account of their own could reset the count at will.
    pub(crate) async fn record_success(&self, db: &mut PgConnection) -> Result<(), Error> {
        if let Some(account) = &self.account {
            let keys = [account.key.clone(), account.network_key.clone()];
            throttles::delete(db, &keys).await?;
        }
        Ok(())
    }

    fn keys(&self) -> Vec<String> {
        let account = self.account.iter();
        account
            .flat_map(|account| [account.key.clone(), account.network_key.clone()])
            .chain([self.network_key()])
            .collect()
    }

    fn network_key(&self) -> String {
        // The prefix is stored data.
        format!("address:{}", self.network)
    }

    /// Whether the account was used from this network recently. Looked up by email, so an unknown
    /// account costs the same.
    async fn is_known_network(
        &self,
        db: &mut PgConnection,
        settings: &config::Throttle,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let Some(account) = &self.account else {
            return Ok(false);
        };
        let since = now - Duration::from_secs(settings.known_address_seconds);
        let known = sessions::is_known_network(db, &account.email, &self.network, since);
        Ok(known.await?)
    }
}

/// How many failures are free, and how long the delay may grow.
struct Limit {
    free_failures: u32,
    max_delay_seconds: u32,
}

impl Limit {
    fn of_account(settings: &config::Throttle) -> Self {
        Self {
            free_failures: settings.account_free_failures,
            max_delay_seconds: settings.account_max_delay_seconds,
        }
    }

    fn of_network(settings: &config::Throttle) -> Self {
        Self {
            free_failures: settings.address_free_failures,
            max_delay_seconds: settings.address_max_delay_seconds,
        }
    }

    fn remaining(&self, row: &ThrottleRow, now: DateTime<Utc>) -> Duration {
        let delay = Duration::from_secs(self.delay_seconds(row.failures).into());
        let until = row.last_failure_at + delay;
        // The clock may have been set back since the failure: that must not lengthen the delay.
        (until - now).to_std().unwrap_or_default().min(delay)
    }

    /// 0 for the free failures, then 1, 2, 4, ... up to the maximum.
    fn delay_seconds(&self, failures: i32) -> u32 {
        let counted = u32::try_from(failures)
            .unwrap_or(0)
            .saturating_sub(self.free_failures);
        match counted.checked_sub(1) {
            None => 0,
            Some(doublings) => 1_u32
                .checked_shl(doublings)
                .filter(|seconds| *seconds != 0)
                .unwrap_or(u32::MAX)
                .min(self.max_delay_seconds),
        }
    }
}

/// A client with one IPv6 address usually controls its whole /64.
fn network_of(client_ip: IpAddr) -> String {
    match client_ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum() {
        let limit = Limit {
            free_failures: 5,
            max_delay_seconds: 60,
        };
        let delays = [0, 5, 6, 7, 8, 11, 12, 100].map(|failures| limit.delay_seconds(failures));
        assert_eq!(delays, [0, 0, 1, 2, 4, 32, 60, 60]);
    }

    #[test]
    fn an_ipv6_network_is_a_64() {
        let network = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
