//! `[issuer]` and `[tokens]`: the issuer, and its tokens.

use std::{fmt, time::Duration};

use token_interceptor::{
    encryption::EncryptionKey,
    http_url::{HttpUrl, shown},
    signature::Algorithm,
};
use token_issuer::{client::Audience, mint::Terms, own_tokens::TOKEN_BYTES_MAX};
use url::{Host, Url};

use super::reader::Section;

/// The range of the limit of a token's length, in bytes.
const HEADER_BYTES_RANGE: std::ops::RangeInclusive<usize> = 512..=TOKEN_BYTES_MAX;

/// An issuer identifier: an https URL without query or fragment (RFC 8414 section 2). On loopback, http is
/// allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerUrl(String);

impl IssuerUrl {
    /// Checks the URL. A single trailing slash is kept, because verifiers compare the exact text.
    ///
    /// # Errors
    ///
    /// When the text is not an issuer identifier, with the reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = HttpUrl::parse(text).map_err(|error| format!("{} cannot be used: {error}", shown(text)))?;
        if !url.is_https() && !url.is_loopback() {
            return Err(format!("{} is not https", shown(text)));
        }
        if url.query().is_some() {
            return Err(format!("{} has a query (RFC 8414 section 2)", shown(text)));
        }
        Ok(Self(text.to_owned()))
    }

    pub(super) fn read_section(mut section: Section<'_>) -> Option<Self> {
        let text: Option<String> = section.required("url");
        let url = text.and_then(|text| match Self::parse(&text) {
            Ok(url) => Some(url),
            Err(problem) => {
                section.reject("url", problem, r#"an https URL as clients reach it, such as "https://tokens.example""#);
                None
            }
        });
        section.finish();
        url
    }

    /// Returns the identifier with the chosen port, if it has port 0.
    #[must_use]
    pub(crate) fn at_port(&self, port: u16) -> Self {
        let chosen = HttpUrl::parse(&self.0).is_ok_and(|url| url.port() != 0);
        match self.0.rsplit_once(":0") {
            Some((before, after)) if !chosen => Self(format!("{before}:{port}{after}")),
            _ => self.clone(),
        }
    }

    /// Returns the host under which clients reach the issuer.
    pub(crate) fn host(&self) -> Option<Host> {
        Url::parse(&self.0).ok()?.host().map(|host| host.to_owned())
    }

    /// The identifier as `iss` has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[tokens]`: the issued tokens.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The lifetime of a token if neither the client nor the request sets one.
    pub default_lifetime: Duration,
    /// The longest lifetime of a token.
    pub maximum_lifetime: Duration,
    /// The longest token, in bytes. A longer one is rejected, so that no token exceeds a proxy's header
    /// limit.
    pub header_bytes: usize,
    /// `[[tokens.audience]]`: audiences with rules of their own.
    pub audiences: Vec<AudienceRules>,
    /// Fetch clients' keys (`jwks_uri`) from every address, with private networks and plaintext. A caller who
    /// may register a client can then make this server connect to hosts that only it can reach.
    pub danger_jwks_uri_anywhere: bool,
}

/// The rules for the tokens of one audience.
#[derive(Clone, Debug)]
pub struct AudienceRules {
    /// The audience.
    pub name: Audience,
    /// The algorithm that signs its tokens, if it is not the default one.
    pub algorithm: Option<Algorithm>,
    /// The longest token that the audience accepts, in bytes.
    pub header_bytes: usize,
    /// The key that its tokens are encrypted to, if no other party may read them.
    pub encryption_key: Option<EncryptionKey>,
}

impl Tokens {
    /// Reads the section. `algorithms` are those with a key.
    pub(super) fn read(mut section: Section<'_>, algorithms: &[Algorithm]) -> Self {
        let second = Duration::from_secs(1);
        let range = second * 10..=second * 86_400;
        let header_bytes = section.within("header_bytes", Terms::TOKEN_BYTES_MAX_DEFAULT, HEADER_BYTES_RANGE);
        let audiences = section.sections("audience").into_iter();
        let audiences =
            audiences.filter_map(|audience| AudienceRules::read(audience, algorithms, header_bytes)).collect();
        let tokens = Self {
            default_lifetime: section.within("default_lifetime", Terms::LIFETIME_DEFAULT, range.clone()),
            maximum_lifetime: section.within("maximum_lifetime", Terms::LIFETIME_MAX_DEFAULT, range),
            header_bytes,
            audiences,
            danger_jwks_uri_anywhere: section.or("danger_jwks_uri_anywhere", false),
        };
        if tokens.default_lifetime > tokens.maximum_lifetime {
            let problem = "it is longer than maximum_lifetime".to_owned();
            section.reject("default_lifetime", problem, "at most maximum_lifetime");
        }
        section.finish();
        tokens
    }
}

impl AudienceRules {
    /// Returns `None` only if a mistake has been recorded.
    fn read(mut section: Section<'_>, algorithms: &[Algorithm], header_bytes: usize) -> Option<Self> {
        let name: Option<String> = section.required("name");
        let algorithm: Option<Algorithm> = section.optional("algorithm");
        let header_bytes = section.within("header_bytes", header_bytes, HEADER_BYTES_RANGE);
        if let Some(algorithm) = algorithm
            && !algorithms.contains(&algorithm)
        {
            section.reject("algorithm", format!("there is no key for {algorithm}"), "one of [keys] algorithms");
        }
        let encryption_key = encryption_key(&mut section);
        let name = name.and_then(|name| {
            let parsed = Audience::try_from(name.as_str());
            parsed.map_err(|error| section.reject("name", error.to_string(), "an audience, as in `aud`")).ok()
        });
        section.finish();
        Some(Self { name: name?, algorithm, header_bytes, encryption_key })
    }
}

/// Reads a public key from a file, in PEM or as a JWK.
fn encryption_key(section: &mut Section<'_>) -> Option<EncryptionKey> {
    const KEY: &str = "encryption_key_file";
    let text = std::fs::read_to_string(section.file(KEY)?);
    let key = text.map_err(|error| error.to_string()).and_then(|text| {
        let pem = text.trim_start().starts_with("-----BEGIN");
        let key = if pem { EncryptionKey::from_pem(text.as_bytes()) } else { EncryptionKey::from_jwk(&text) };
        key.map_err(|error| error.to_string())
    });
    key.map_err(|problem| section.reject(KEY, problem, "a public key on P-256, as PEM or JWK")).ok()
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            default_lifetime: Terms::LIFETIME_DEFAULT,
            maximum_lifetime: Terms::LIFETIME_MAX_DEFAULT,
            header_bytes: Terms::TOKEN_BYTES_MAX_DEFAULT,
            audiences: Vec::new(),
            danger_jwks_uri_anywhere: false,
        }
    }
}
