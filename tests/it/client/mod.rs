//! The Rust client against a real Quartet, with injected faults.

mod faults;
mod links;
mod sessions;
mod uploads;

use crate::harness::{Proxy, SdkUser, Stack, sdk};

/// A stack behind a proxy that injects faults, and a user of the proxy.
struct ProxiedStack {
    // Dropped in this order: the stack searches its logs for secrets last.
    ada: SdkUser,
    proxy: Proxy,
    stack: Stack,
}

impl ProxiedStack {
    async fn new() -> Self {
        Self::of(Stack::small().await).await
    }

    async fn of(stack: Stack) -> Self {
        let proxy = Proxy::before(stack.gateway()).await;
        let quartet = sdk::quartet(proxy.address(), &stack.secrets);
        let ada = SdkUser::sign_up(quartet, &stack.secrets).await;
        Self { ada, proxy, stack }
    }
}
