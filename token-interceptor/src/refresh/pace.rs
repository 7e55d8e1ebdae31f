//! The pace at which a rejected token may be replaced.
//!
//! A server that refuses every token, by mistake or by malice, must not make its callers flood the issuer.
//! The first rejection requests a new token at once, the next after 1 s, then 2 s, up to 60 s apart.

use std::time::Duration;

use tokio::time::Instant;

const APART_FIRST: Duration = Duration::from_secs(1);
const APART_MAX: Duration = Duration::from_secs(60);

/// The replacements so far, and the time of the next.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<(Instant, Duration)>,
}

impl Pace {
    /// Returns the time at which a rejected token may next be replaced.
    pub(super) fn allowed_at(&self, now: Instant) -> Instant {
        self.last.map_or(now, |(at, apart)| at + apart)
    }

    /// Records that a replacement is requested.
    pub(super) fn begin(&mut self, now: Instant) {
        let apart = match self.last {
            // Quiet for twice the interval: that trouble is over.
            Some((at, apart)) if now.saturating_duration_since(at) < apart * 2 => (apart * 2).min(APART_MAX),
            Some(_) | None => APART_FIRST,
        };
        self.last = Some((now, apart));
    }
}
