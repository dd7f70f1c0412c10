//! The right to work on a row: one gateway at a time has it, for a limited time, and writes only while it
//! does.
//!
//! The epoch grows whenever the right is given, so that a gateway that was slow, or whose clock stood still,
//! cannot write over what its successor has written.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    failure::AcmeError,
    store::{Store, StoreError},
};

/// A gateway that dies blocks the others for this time.
pub(super) const TTL: Duration = Duration::from_mins(1);
/// A holder extends its lease after a third of it, so that two attempts may fail.
const EXTEND: Duration = Duration::from_secs(20);

/// A lease that this process has.
pub(super) struct Held<'s> {
    store: &'s Store,
    name: String,
    owner: &'s str,
    epoch: u64,
}

impl<'s> Held<'s> {
    /// `None`: another gateway has it.
    ///
    /// # Errors
    /// When the store is away.
    pub(super) async fn acquire(
        store: &'s Store,
        name: String,
        owner: &'s str,
    ) -> Result<Option<Self>, StoreError> {
        let epoch = store.acquire(&name, owner, TTL).await?;
        Ok(epoch.map(|epoch| Self {
            store,
            name,
            owner,
            epoch,
        }))
    }

    /// Writes the row.
    ///
    /// # Errors
    /// [`AcmeError::LeaseLost`], or when the store is away.
    pub(super) async fn put(&self, row: &str) -> Result<(), AcmeError> {
        let holder = (self.owner, self.epoch);
        if self.store.put(&self.name, holder, row).await? {
            Ok(())
        } else {
            Err(AcmeError::LeaseLost)
        }
    }

    /// Does what needs the lease, and extends it meanwhile.
    ///
    /// # Errors
    /// As `work`, and [`AcmeError::LeaseLost`] when another gateway may have it.
    pub(super) async fn during<T>(
        &self,
        work: impl Future<Output = Result<T, AcmeError>>,
    ) -> Result<T, AcmeError> {
        let mut work = pin!(work);
        let mut valid_until = Instant::now() + TTL;
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(EXTEND) => {}
            }
            let asked_at = Instant::now();
            match self
                .store
                .extend(&self.name, (self.owner, self.epoch), TTL)
                .await
            {
                Ok(true) => valid_until = asked_at + TTL,
                // The store is away: the work continues for as long as no other gateway can have the lease.
                Err(_) if Instant::now() + EXTEND < valid_until => {}
                Ok(false) | Err(_) => return Err(AcmeError::LeaseLost),
            }
        }
    }

    /// Lets others have it. If the store is away, they get it when it has expired.
    pub(super) async fn release(self) {
        let released = self.store.release(&self.name, (self.owner, self.epoch));
        if let Err(error) = released.await {
            tracing::debug!(error = error.to_string(), "a lease was not released");
        }
    }
}
