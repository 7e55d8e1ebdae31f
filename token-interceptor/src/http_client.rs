//! The HTTP client for key sets, discovery documents and token endpoints: bounded in time and size, no
//! redirects. And the connections of gRPC to issuers, with the same roots and proxies.
//!
//! It uses HTTPS, unless the host is loopback or [`danger::AllowPlaintext`](crate::danger::AllowPlaintext)
//! was named. An attacker on the network path can replace keys that are fetched in plaintext. A redirect is
//! returned to the caller and never followed: the server does not choose the hosts that this process connects
//! to. The environment names the proxies: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.

mod addresses;

#[cfg(feature = "http")]
mod client;

mod connector;

mod endpoint;

mod error;

mod proxy;

mod tls;

mod untrusted;

#[cfg(feature = "http")]
mod well_known;

use std::time::Duration;

#[cfg(feature = "http")]
pub use client::{HttpClient, HttpClientBuilder, HttpResponse};
pub use endpoint::connect;
#[cfg(any(feature = "ring", feature = "aws-lc"))]
pub use endpoint::grpc_endpoint;
#[cfg(any(feature = "server", feature = "client"))]
pub(crate) use endpoint::{Tls, connect_lazy, connect_url_lazy};
pub use error::HttpError;
#[cfg(any(feature = "server", feature = "client"))]
pub(crate) use untrusted::OVER_GRPC;
pub use untrusted::is_of_unknown_ca;
#[cfg(all(feature = "http", any(feature = "server", feature = "client")))]
pub(crate) use well_known::Documents;

/// The default for the longest wait for an answer and its body, and for a connection.
const TIMEOUT: Duration = Duration::from_secs(5);
