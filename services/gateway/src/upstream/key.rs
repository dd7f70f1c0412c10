//! What requests with the same replica have in common, and numbers that look random.

use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    net::{IpAddr, SocketAddr},
};

use crate::{config::HashBy, request::Headers};

/// Equal for requests that should reach the same replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BalanceKey(u64);

impl BalanceKey {
    pub(crate) fn of(value: impl Hash) -> Self {
        // Its keys are fixed, so gateways of one version agree.
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// That of a request. `user`: of its verified token.
    pub(crate) fn of_request(
        hash_by: &HashBy,
        headers: &dyn Headers,
        user: Option<&str>,
        client_ip: IpAddr,
    ) -> Self {
        let value = match hash_by {
            HashBy::Client => return user.map_or_else(|| Self::of(client_ip), Self::of),
            HashBy::ClientIp => None,
            HashBy::Header(name) => headers.first(name),
            HashBy::Cookie(name) => headers.cookie(name),
        };
        value.map_or_else(|| Self::of(client_ip), Self::of)
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// A replica has a chance for each time that it is in the round.
    pub(super) fn rank(self, address: SocketAddr, chances: u32) -> u64 {
        let ranks =
            (0..chances.max(1) as usize).map(|chance| Self::of((self.0, address, chance)).0);
        ranks.max().unwrap_or(0)
    }
}

/// Spreads numbers over their whole range (the finalizer of `SplitMix64`): equal ones stay equal, and those
/// that follow each other look random.
pub(super) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
