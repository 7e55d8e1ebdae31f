//! The place of a credential in a request: RFC 9110 section 11.6.2 for `authorization`.

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};

use crate::error::{Denial, Denied};

/// The place of a scheme's credential in a request. Never the URL, which ends up in logs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialPlace {
    /// A header field of its own, such as `x-api-key`. In gRPC it is metadata.
    Header(HeaderName),
    /// `authorization`, after this name of a scheme: `authorization: ApiKey …`. Case-insensitive.
    Authorization(&'static str),
    /// `authorization: Bearer`, with a token that is neither a JWT (two dots) nor an encrypted one (four).
    OpaqueBearer,
}

/// A credential as a request presents it. It is a secret.
pub(crate) struct Presented {
    value: HeaderValue,
    /// The start of the credential in the value.
    start: usize,
}

impl CredentialPlace {
    /// Returns the fault of a place that no scheme may have.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Header(name) if *name == AUTHORIZATION => Some("authorization needs the name of a scheme"),
            Self::Authorization(scheme) if scheme.eq_ignore_ascii_case("bearer") => Some("Bearer is for tokens"),
            Self::Authorization(scheme) if !is_token(scheme) => Some("the name of a scheme has letters and digits"),
            Self::Header(_) | Self::Authorization(_) | Self::OpaqueBearer => None,
        }
    }

    /// Returns true if both places are one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Authorization(one), Self::Authorization(other)) => one.eq_ignore_ascii_case(other),
            _ => self == other,
        }
    }

    /// Returns true if the place is within `authorization`.
    pub(crate) fn is_in_authorization(&self) -> bool {
        !matches!(self, Self::Header(_))
    }

    /// Returns true if a request has a credential here, valid or not.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Header(name) => headers.contains_key(name),
            Self::Authorization(_) | Self::OpaqueBearer => {
                headers.get_all(AUTHORIZATION).iter().any(|value| self.start_in(value.as_bytes()).is_some())
            }
        }
    }

    /// Returns the only credential here.
    pub(crate) fn of(&self, headers: &HeaderMap) -> Result<Presented, Denied> {
        let malformed = |fault| Err(Denial::CredentialsMalformed(fault).into());
        let mut values = headers.get_all(self.header()).iter();
        let Some(value) = values.next() else { return Err(Denial::CredentialsMissing.into()) };
        if values.next().is_some() {
            return malformed("the header of the credential occurs twice");
        }
        let Some(start) = self.start_in(value.as_bytes()) else { return Err(Denial::CredentialsMissing.into()) };
        let presented = Presented { value: value.clone(), start };
        if presented.text().is_empty() {
            return malformed("there is no credential in its header");
        }
        Ok(presented)
    }

    /// Removes the credential from a request.
    pub(crate) fn remove(&self, headers: &mut HeaderMap) {
        if self.is_in(headers) {
            headers.remove(self.header());
        }
    }

    /// Marks the credential as a secret, which `Debug` does not print.
    pub(crate) fn censor(&self, headers: &mut HeaderMap) {
        if self.is_in(headers)
            && let http::header::Entry::Occupied(mut values) = headers.entry(self.header())
        {
            values.iter_mut().for_each(|value| value.set_sensitive(true));
        }
    }

    fn header(&self) -> &HeaderName {
        match self {
            Self::Header(name) => name,
            Self::Authorization(_) | Self::OpaqueBearer => &AUTHORIZATION,
        }
    }

    /// Returns the start of the credential in a header's value; `None` if it is of another scheme.
    fn start_in(&self, value: &[u8]) -> Option<usize> {
        match self {
            Self::Header(_) => Some(0),
            Self::Authorization(scheme) => after(scheme, value),
            Self::OpaqueBearer => {
                let start = after("bearer", value)?;
                let dots = value.get(start..).unwrap_or_default().iter().filter(|byte| **byte == b'.').count();
                // An empty one is left to the verifier, which rejects it.
                (dots != 2 && dots != 4 && start < value.len()).then_some(start)
            }
        }
    }
}

/// Returns the start of the text after the name of a scheme and one or more spaces.
fn after(scheme: &str, value: &[u8]) -> Option<usize> {
    let (name, rest) = value.split_at_checked(scheme.len())?;
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    let is_it = name.eq_ignore_ascii_case(scheme.as_bytes()) && (spaces > 0 || rest.is_empty());
    is_it.then_some(scheme.len() + spaces)
}

/// RFC 9110 section 5.6.2, without the special characters that no registered scheme has.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

impl Presented {
    /// Returns the text of the credential; empty if it is not visible ASCII.
    pub(crate) fn text(&self) -> &str {
        self.value.to_str().ok().and_then(|text| text.get(self.start..)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let mut headers = HeaderMap::new();
        pairs.for_each(|(name, value): (_, HeaderValue)| {
            headers.append(name, value);
        });
        headers
    }

    fn found(place: &CredentialPlace, fields: &[(&'static str, &'static str)]) -> Result<String, Denial> {
        place.of(&headers(fields)).map(|presented| presented.text().to_owned()).map_err(|denied| denied.0)
    }

    #[test]
    fn a_credential_is_read_from_its_own_place_alone() {
        let key = CredentialPlace::Header(API_KEY);
        let named = CredentialPlace::Authorization("ApiKey");
        let opaque = CredentialPlace::OpaqueBearer;
        for (place, field, text) in [
            (&key, ("x-api-key", "k1"), Some("k1")),
            (&key, ("authorization", "ApiKey k1"), None),
            (&named, ("authorization", "ApiKey k1"), Some("k1")),
            (&named, ("authorization", "APIKEY   k1"), Some("k1")),
            (&named, ("authorization", "ApiKeys k1"), None),
            (&named, ("authorization", "Bearer k1"), None),
            (&named, ("authorization", "ApiKey\tk1"), None),
            (&opaque, ("authorization", "bearer k1"), Some("k1")),
            (&opaque, ("authorization", "Bearer ya29.k1"), Some("ya29.k1")),
            (&opaque, ("authorization", "Bearer a.b.c"), None),
            (&opaque, ("authorization", "Bearer a.b.c.d.e"), None),
            (&opaque, ("authorization", "Bearer "), None),
            (&opaque, ("authorization", "ApiKey k1"), None),
        ] {
            assert_eq!(found(place, &[field]).ok().as_deref(), text, "{place:?} {field:?}");
            assert_eq!(place.is_in(&headers(&[field])), text.is_some(), "{place:?} {field:?}");
        }
    }

    #[test]
    fn rejects_a_credential_that_is_empty_or_occurs_twice() {
        let key = CredentialPlace::Header(API_KEY);
        let named = CredentialPlace::Authorization("ApiKey");
        for (place, fields) in [
            (&key, &[("x-api-key", "")][..]),
            (&key, &[("x-api-key", "k1"), ("x-api-key", "k1")]),
            (&key, &[("x-api-key", "ké")]),
            (&named, &[("authorization", "ApiKey")]),
            (&named, &[("authorization", "ApiKey k1"), ("authorization", "Bearer a.b.c")]),
        ] {
            let refused = found(place, fields);
            assert!(matches!(refused, Err(Denial::CredentialsMalformed(_))), "{fields:?} {refused:?}");
        }
    }

    #[test]
    fn a_place_of_tokens_or_without_a_name_is_a_fault() {
        for place in ["Bearer", "bearer", "", "a b", "a,"].map(CredentialPlace::Authorization) {
            assert!(place.fault().is_some(), "{place:?}");
        }
        assert!(CredentialPlace::Header(AUTHORIZATION).fault().is_some());
        for place in
            [CredentialPlace::Header(API_KEY), CredentialPlace::Authorization("ApiKey"), CredentialPlace::OpaqueBearer]
        {
            assert_eq!(place.fault(), None);
        }
    }

    #[test]
    fn a_credential_is_censored_or_removed() {
        for (place, field) in [
            (CredentialPlace::Header(API_KEY), ("x-api-key", "k1-secret")),
            (CredentialPlace::Authorization("ApiKey"), ("authorization", "ApiKey k1-secret")),
            (CredentialPlace::OpaqueBearer, ("authorization", "Bearer k1-secret")),
        ] {
            let mut headers = headers(&[field]);
            place.censor(&mut headers);
            assert!(!format!("{headers:?}").contains("secret"));
            place.remove(&mut headers);
            assert!(headers.is_empty());
        }
        let mut bearer = headers(&[("authorization", "Bearer a.b.c")]);
        CredentialPlace::OpaqueBearer.remove(&mut bearer);
        CredentialPlace::Authorization("ApiKey").remove(&mut bearer);
        assert_eq!(bearer.len(), 1);
    }
}
