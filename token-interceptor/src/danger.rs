//! What weakens a guarantee: values that a program has to name, so that a search for `danger::` finds every
//! place where it does so.

/// Lets tokens, secrets and keys travel in plaintext to hosts other than loopback.
///
/// | where it is named | what then is not protected | what whoever sits between can do |
/// |---|---|---|
/// | [`TrustedIssuer::plaintext`](crate::verify::TrustedIssuer::plaintext), [`IssuerChannel::of_channel`](crate::verify::IssuerChannel::of_channel), [`HttpClientBuilder::plaintext`](crate::http_client::HttpClientBuilder::plaintext) | the issuer's metadata and key set | replace the keys, and with them forge every token |
/// | [`IssuerBuilder::plaintext`](crate::source::IssuerBuilder::plaintext), [`IssuerBuilder::grpc_channel`](crate::source::IssuerBuilder::grpc_channel) | requests for tokens | read the client's secret and the tokens |
/// | [`TokenLayer::any_destination`](crate::attach::TokenLayer::any_destination) | the application's own calls | read the tokens that they carry, and use them |
///
/// On a channel or a client of the program's own it is also the program's word that the way is protected by
/// something else: a mesh, a socket in the file system, a simulated network.
#[derive(Clone, Copy, Debug)]
pub struct AllowPlaintext;

/// Enforces a policy that nobody has held against what is served
/// ([`Policy::unchecked`](crate::policy::Policy::unchecked)): a method that was forgotten is still denied, but the
/// server starts, and those who call it are the first to know.
#[derive(Clone, Copy, Debug)]
pub struct UncheckedPolicy;
