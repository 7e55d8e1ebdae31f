//! What weakens a guarantee: values that a program has to name, so that a search for `danger::` finds every
//! place where it does so.

/// Lets an [`HttpClient`](crate::http_client::HttpClient) speak plaintext `http` to hosts other than loopback.
///
/// Whoever sits between can then replace a key set, and with it forge every token, or read a client secret.
#[derive(Clone, Copy, Debug)]
pub struct AllowPlaintext;
