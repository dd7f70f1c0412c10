//! Bounds that several sections share, in seconds.

pub(super) const DAY: u64 = 86_400;
/// Of lifetimes: ten years.
pub(super) const MAX_LIFETIME: u64 = 3650 * DAY;
