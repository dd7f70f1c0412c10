//! The Rust client against a real Quartet, with faults between.

mod faults;
mod links;
mod sessions;
mod uploads;

use crate::harness::{Person, Proxy, Stack, sdk};

/// A stack, a proxy in front of it, and somebody who goes through it.
struct Scene {
    // Dropped in this order: the stack looks for secrets in its logs last.
    ada: Person,
    proxy: Proxy,
    stack: Stack,
}

impl Scene {
    async fn new() -> Self {
        Self::of(Stack::small().await).await
    }

    async fn of(stack: Stack) -> Self {
        let proxy = Proxy::before(stack.gateway()).await;
        let quartet = sdk::quartet(proxy.address(), &stack.secrets);
        let ada = Person::sign_up(quartet, &stack.secrets).await;
        Self { ada, proxy, stack }
    }
}
