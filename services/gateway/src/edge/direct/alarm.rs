//! One timer per connection, for all of its deadlines.
//!
//! Setting and removing a timer for every wait would take the timer's lock several times a request.
//! Here the timer is only touched when a deadline is earlier than the time it is set to; when it
//! goes off too early, because the deadline has moved on meanwhile, it is set again. In steady
//! traffic that is once in the length of the shortest time-out, and deadlines are still exact.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Far enough for a wait without a deadline.
const NEVER: Duration = Duration::from_hours(24);

/// The timer of a connection.
#[derive(Debug)]
pub(in crate::edge) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    deadline: Option<Instant>,
}

impl Alarm {
    pub(in crate::edge) fn new() -> Self {
        Self {
            sleep: Box::pin(sleep_until(Instant::now() + NEVER)),
            deadline: None,
        }
    }

    /// Replaces the deadline; `None`: none.
    pub(in crate::edge) fn set(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
        if let Some(deadline) = deadline
            && deadline < self.sleep.deadline()
        {
            self.sleep.as_mut().reset(deadline);
        }
    }

    /// Ready once the deadline has passed.
    pub(in crate::edge) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.sleep.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            match self.deadline {
                Some(deadline) if deadline <= now => return Poll::Ready(()),
                Some(deadline) => self.sleep.as_mut().reset(deadline),
                None => self.sleep.as_mut().reset(now + NEVER),
            }
        }
        Poll::Pending
    }

    /// The result of `work`; `None` if the deadline passes first.
    pub(in crate::edge) async fn bound<T>(
        &mut self,
        deadline: Option<Instant>,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        self.set(deadline);
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|context| {
            if let Poll::Ready(result) = work.as_mut().poll(context) {
                return Poll::Ready(Some(result));
            }
            self.poll(context).map(|()| None)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};

    use super::*;

    async fn waited(alarm: &mut Alarm) -> u128 {
        let began = Instant::now();
        poll_fn(|context| alarm.poll(context)).await;
        began.elapsed().as_millis()
    }

    #[tokio::test]
    async fn deadlines_are_kept_in_whatever_order_they_come() {
        let mut alarm = Alarm::new();
        let after = |ms| Some(Instant::now() + Duration::from_millis(ms));
        for ms in [40, 5, 60, 20, 20] {
            alarm.set(after(ms));
            assert!(waited(&mut alarm).await >= u128::from(ms));
        }
        // An earlier deadline that was replaced does not go off.
        alarm.set(after(5));
        alarm.set(after(80));
        assert!(waited(&mut alarm).await >= 80);
        // A later one that was replaced does not delay.
        alarm.set(after(60_000));
        alarm.set(after(5));
        assert!(waited(&mut alarm).await < 30_000);
        assert_eq!(alarm.bound(after(5), pending::<()>()).await, None);
        assert_eq!(alarm.bound(None, async { 7 }).await, Some(7));
    }
}
