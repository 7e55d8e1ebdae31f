//! The metadata of an issuer: OAuth server metadata (RFC 8414) or OpenID discovery, found by the issuer
//! identifier.

use crate::{
    http_client::{Documents, HttpClient},
    http_url::HttpUrl,
    json,
    source::SourceError,
};

use super::{Issuer, SecretIn, answer::printable};

/// The parts of an issuer's metadata that are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Metadata {
    pub(super) token_endpoint: HttpUrl,
    /// The issuer's preferred place of a secret.
    pub(super) secret_in: SecretIn,
}

/// Reads the metadata from one of the two well-known URLs.
pub(super) async fn discover(client: &HttpClient, issuer: &Issuer) -> Result<Metadata, SourceError> {
    let mut failure = None;
    let Documents { openid, oauth } = Documents::of(&issuer.url).map_err(SourceError::unavailable)?;
    for place in [oauth, openid] {
        let answer = match client.get(&place).await {
            Ok(answer) if answer.status.is_success() => read(&answer.body, issuer),
            Ok(answer) => Err(SourceError::unavailable(format!("{place} answered {}", answer.status))),
            Err(error) => Err(SourceError::unavailable(error)),
        };
        match answer {
            Ok(metadata) => return Ok(metadata),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| SourceError::unavailable("no metadata")))
}

fn read(body: &[u8], issuer: &Issuer) -> Result<Metadata, SourceError> {
    let members = json::object(body).map_err(SourceError::unavailable)?;
    let text = |name: &str| members.get(name).and_then(serde_json::Value::as_str);
    // RFC 8414 section 3.3, to the letter: another issuer's metadata would send this client's credentials to
    // another's endpoint.
    let named = text("issuer").unwrap_or_default();
    if named != issuer.identifier {
        let named = printable(named);
        return Err(SourceError::unavailable(format!("the metadata are those of another issuer: {named:?}")));
    }
    let endpoint = text("token_endpoint").and_then(|endpoint| HttpUrl::parse(endpoint).ok());
    // An issuer that is reached over TLS has no reason to receive secrets in plaintext.
    let endpoint = endpoint.filter(|endpoint| endpoint.is_https() || !issuer.url.is_https());
    let token_endpoint =
        endpoint.ok_or_else(|| SourceError::unavailable("the metadata name no usable token endpoint"))?;
    let methods = members.get("token_endpoint_auth_methods_supported").and_then(serde_json::Value::as_array);
    let offers = |method: &str| methods.is_some_and(|methods| methods.iter().any(|offered| offered == method));
    // RFC 8414 section 2: the default is client_secret_basic.
    let form_only = offers("client_secret_post") && !offers("client_secret_basic");
    let secret_in = if form_only { SecretIn::Form } else { SecretIn::Header };
    Ok(Metadata { token_endpoint, secret_in })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(url: &str) -> HttpUrl {
        url.parse().unwrap()
    }

    fn issuer(identifier: &str) -> Issuer {
        Issuer { identifier: identifier.to_owned(), url: url(identifier) }
    }

    #[test]
    fn reads_the_endpoint_and_how_a_secret_is_sent() {
        let issuer = issuer("https://a.example");
        let body = |methods: &str| {
            format!(r#"{{"issuer":"https://a.example","token_endpoint":"https://a.example/t"{methods}}}"#)
        };
        for (methods, expected) in [
            ("", SecretIn::Header),
            (r#","token_endpoint_auth_methods_supported":["client_secret_post"]"#, SecretIn::Form),
            (
                r#","token_endpoint_auth_methods_supported":["client_secret_post","client_secret_basic"]"#,
                SecretIn::Header,
            ),
        ] {
            let metadata = read(body(methods).as_bytes(), &issuer).unwrap();
            assert_eq!(metadata.token_endpoint, url("https://a.example/t"));
            assert_eq!(metadata.secret_in, expected, "{methods}");
        }
    }

    #[test]
    fn rejects_another_issuers_metadata() {
        for named in ["https://b.example", "https://a.example/", "https://a.example.b", "https://a.example/x", ""] {
            let body = format!(r#"{{"issuer":"{named}","token_endpoint":"https://b.example/t"}}"#);
            assert!(read(body.as_bytes(), &issuer("https://a.example")).is_err(), "{named}");
        }
    }

    #[test]
    fn rejects_metadata_that_name_no_usable_endpoint() {
        for body in
            [r#"{"issuer":"https://a.example"}"#, "[]", "", r#"{"issuer":"https://a.example","token_endpoint":3}"#]
        {
            assert!(read(body.as_bytes(), &issuer("https://a.example")).is_err(), "{body}");
        }
    }
}
