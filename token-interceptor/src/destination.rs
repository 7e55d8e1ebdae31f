//! The permitted destinations of credentials and tokens: over TLS, or on this machine.

use http::{Uri, uri::Scheme};

use crate::http_url::is_loopback;

/// The check of a destination for credentials and tokens.
#[derive(Clone, Copy, Debug)]
pub struct Destination;

/// The error of a plaintext destination on another machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{destination} is plaintext and not on this machine: use https, or name danger::AllowPlaintext")]
pub struct PlaintextRefused {
    destination: String,
}

impl Destination {
    /// Accepts `https` and loopback hosts.
    ///
    /// # Errors
    ///
    /// For every other destination: an attacker on the network path could read the token and use it.
    pub fn of(uri: &Uri) -> Result<(), PlaintextRefused> {
        let safe = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(_) => uri.host().is_some_and(is_loopback),
            None => false,
        };
        if safe { Ok(()) } else { Err(PlaintextRefused { destination: name(uri) }) }
    }
}

/// Returns scheme and host only: path and user information may hold secrets, which must not be logged.
fn name(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("an unnamed scheme");
    format!("{scheme}://{}", uri.host().unwrap_or("an unnamed host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_tls_and_this_machine() {
        for uri in [
            "https://a.example",
            "http://localhost:80",
            "http://LOCALHOST",
            "http://127.0.0.1",
            "http://127.9.9.9:1",
            "http://[::1]:50051",
        ] {
            assert!(Destination::of(&uri.parse().unwrap()).is_ok(), "{uri}");
        }
    }

    #[test]
    fn refuses_plaintext_to_anything_else() {
        for uri in [
            "http://a.example",
            "http://10.0.0.1",
            "http://localhost.a.example",
            "http://127.0.0.1.a.example",
            "http://[::ffff:10.0.0.1]",
            "http://0.0.0.0",
            "h2c://a.example",
            "/path/only",
        ] {
            assert!(Destination::of(&uri.parse().unwrap()).is_err(), "{uri}");
        }
    }

    #[test]
    fn an_error_names_no_more_than_scheme_and_host() {
        let error = Destination::of(&"http://user:pass@a.example/secret?x".parse().unwrap()).unwrap_err();
        assert!(error.to_string().starts_with("http://a.example is plaintext"), "{error}");
    }
}
