//! Weakened guarantees: values that a program has to name, so that a search for `danger::` finds every use.

/// Lets tokens, secrets and keys travel in plaintext to hosts other than loopback.
///
/// An attacker on the network path can then do the following:
///
/// * With [`TrustedIssuer::plaintext`], [`IssuerChannel::of_channel`] or [`HttpClientBuilder::plaintext`],
///   replace the issuer's metadata and keys, and so forge every token.
/// * With [`IssuerBuilder::plaintext`] or [`IssuerBuilder::grpc_channel`], read the requests for tokens: the
///   client's secret and the tokens.
/// * With [`AttachLayer::any_destination`], read the tokens of the application's own calls, and use them.
///
/// For a channel or a client of its own, the program vouches that the connection is protected by other means.
/// Examples are a mesh, a socket in the file system, a simulated network.
///
/// [`TrustedIssuer::plaintext`]: crate::verify::TrustedIssuer::plaintext
/// [`IssuerChannel::of_channel`]: crate::verify::IssuerChannel::of_channel
/// [`HttpClientBuilder::plaintext`]: crate::http_client::HttpClientBuilder::plaintext
/// [`IssuerBuilder::plaintext`]: crate::source::IssuerBuilder::plaintext
/// [`IssuerBuilder::grpc_channel`]: crate::source::IssuerBuilder::grpc_channel
/// [`AttachLayer::any_destination`]: crate::attach::AttachLayer::any_destination
#[derive(Clone, Copy, Debug)]
pub struct AllowPlaintext;

/// Enforces a policy that was not checked against the served methods
/// ([`Policy::unchecked`](crate::policy::Policy::unchecked)). A method without a policy is still denied. But
/// the server starts, and its callers notice first.
#[derive(Clone, Copy, Debug)]
pub struct UncheckedPolicy;
