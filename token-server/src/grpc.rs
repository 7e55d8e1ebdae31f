//! The gRPC protocol. Each service has its own file. A handler decodes the request, calls the domain, and
//! encodes the response.

pub mod audit;
pub mod clients;
pub mod ext_authz;
pub mod keys;
pub(crate) mod operator;
pub mod status;
mod structure;
pub mod token;
pub mod trust;

/// The longest request message that is read, in bytes: several times the longest valid one.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
