//! The gRPC face. One file per service; a handler decodes, hands over to the domain line, and encodes.

pub mod audit;
pub mod clients;
pub mod ext_authz;
pub mod keys;
pub(crate) mod operator;
pub mod status;
mod structure;
pub mod token;
pub mod trust;

/// The longest request message that is read: several times what the longest good one takes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
