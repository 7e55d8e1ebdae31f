//! How often a rejected token may be replaced.
//!
//! A server that refuses every token, by mistake or by malice, must not turn its callers against the issuer:
//! the first rejection asks for a new token at once, the next after 1 s, then 2 s, up to 60 s apart.

use std::time::Duration;

use tokio::time::Instant;

const APART_FIRST: Duration = Duration::from_secs(1);
const APART_MAX: Duration = Duration::from_secs(60);

/// The replacements so far, and when the next is allowed.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<(Instant, Duration)>,
}

impl Pace {
    /// When a rejected token may next be replaced.
    pub(super) fn allowed_at(&self, now: Instant) -> Instant {
        self.last.map_or(now, |(at, apart)| at + apart)
    }

    /// A replacement is being asked for.
    pub(super) fn begin(&mut self, now: Instant) {
        let apart = match self.last {
            // Quiet for twice the distance: that trouble is over.
            Some((at, apart)) if now.saturating_duration_since(at) < apart * 2 => (apart * 2).min(APART_MAX),
            Some(_) | None => APART_FIRST,
        };
        self.last = Some((now, apart));
    }
}
