//! The costly steps of a request, as events that a test counts.
//!
//! The time of a response must not reveal which client IDs exist (RFC 6749 section 10.10). Wall-clock time is
//! too noisy to test; steps are not. Each costly step emits an event, which is disabled unless a subscriber
//! enables it. `tests/issue/work.rs` does, and checks that every way to fail takes the same steps.

/// The target of the events.
pub const TARGET: &str = "token_server::work";

/// A step that takes measurable time.
///
/// Exhaustive: the events must name a new step before it compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A request is decoded.
    Decoding,
    /// The client is looked up.
    Lookup,
    /// HMAC-SHA-256 of the presented secret.
    KeyedHash,
    /// Argon2id of the presented secret.
    SlowHash,
    /// A signature is verified.
    SignatureCheck,
}

impl Step {
    const fn name(self) -> &'static str {
        match self {
            Self::Decoding => "decoding",
            Self::Lookup => "lookup",
            Self::KeyedHash => "keyed_hash",
            Self::SlowHash => "slow_hash",
            Self::SignatureCheck => "signature_check",
        }
    }
}

/// Emits the event for the step.
pub fn takes(step: Step) {
    tracing::trace!(target: TARGET, step = step.name());
}
