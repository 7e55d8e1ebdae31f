//! Layers around the services: each bounds, measures or audits requests. Uses the transport alone.

pub(crate) mod protocol;
pub(crate) mod drained_body;
pub(crate) mod conformance;
pub(crate) mod concurrency_limit;
pub(crate) mod peer_limit;
pub(crate) mod recordable;
pub(crate) mod framing;
pub(crate) mod fast_path;
pub(crate) mod timing;
pub(crate) mod spans;
pub(crate) mod audited;
pub(crate) mod standing;
pub(crate) mod drain;
