//! Reports what was not readable in a click log.

use crate::{domain::Context, wal::SkippedBytes};

pub(super) fn report(ctx: &Context, segment: u64, skipped: SkippedBytes) {
    if skipped.bytes == 0 {
        return;
    }
    ctx.metrics.click_log_corrupt.inc_by(skipped.runs);
    ctx.metrics.click_log_corrupt_bytes.inc_by(skipped.bytes);
    let SkippedBytes { runs, bytes } = skipped;
    tracing::error!(
        segment,
        gaps = runs,
        bytes,
        "corrupt frames of a click log skipped"
    );
}
