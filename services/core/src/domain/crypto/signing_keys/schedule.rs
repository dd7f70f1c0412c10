//! When keys are created and deleted.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::config::Keys;

/// When a key of an algorithm that is created now should become active; `None` when none is due.
///
/// The first key of all signs at once, as no one can have read the key set before. The first key of
/// another algorithm is published ahead like any other.
pub(super) fn next_activation(
    newest: Option<DateTime<Utc>>,
    is_first_of_all: bool,
    settings: &Keys,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let published = now + Duration::from_secs(settings.publish_ahead_seconds);
    let Some(newest) = newest else {
        return Some(if is_first_of_all { now } else { published });
    };
    let due = newest + Duration::from_secs(settings.rotation_seconds);
    (published >= due).then(|| due.max(published))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_created_ahead_of_its_activation() {
        let settings = Keys::for_tests();
        let now = DateTime::UNIX_EPOCH + Duration::from_hours(10_000);
        let seconds = |seconds: u64| Duration::from_secs(seconds);
        let (rotation, ahead) = (settings.rotation_seconds, settings.publish_ahead_seconds);
        let next = |newest, first| next_activation(newest, first, &settings, now);
        assert_eq!(next(None, true), Some(now));
        assert_eq!(next(None, false), Some(now + seconds(ahead)));
        assert_eq!(next(Some(now), false), None);
        assert_eq!(next(Some(now + seconds(ahead)), false), None);
        let due = now + seconds(ahead) - seconds(rotation);
        assert_eq!(next(Some(due + seconds(1)), false), None);
        assert_eq!(next(Some(due), false), Some(now + seconds(ahead)));
        let overdue = due - seconds(rotation);
        assert_eq!(next(Some(overdue), false), Some(now + seconds(ahead)));
        // A clock that was set back creates nothing early.
        assert_eq!(next(Some(now + seconds(rotation)), false), None);
    }
}
