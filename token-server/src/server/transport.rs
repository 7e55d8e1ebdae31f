//! Connections: accepted, bounded, and encrypted. Uses nothing else of the server.

pub(crate) mod descriptors;
pub(crate) mod phase;
pub(crate) mod overload;
pub(crate) mod proxy_protocol;
pub(crate) mod accept;
pub(crate) mod tls;
