//! A proxy's question → the request that it describes, as far as the layer reads it.

use axum::body::Body;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE},
    uri::PathAndQuery,
};
use token_issuer::origin::REQUEST_ID;

use super::answer::PREFIX;
use crate::envoy::service::auth::v3::{CheckRequest, attribute_context::HttpRequest};

/// The request that the proxy asks about.
pub(super) struct Question {
    pub(super) request: Request<Body>,
    /// Header fields that only this service may set, but that the client sent.
    pub(super) claimed: Vec<String>,
}

impl Question {
    pub(super) fn of(check: CheckRequest) -> Self {
        let http = check.attributes.and_then(|attributes| attributes.request).and_then(|request| request.http);
        let http = http.unwrap_or_default();
        let mut headers = HeaderMap::new();
        let mut claimed = Vec::new();
        for (name, value) in fields(&http) {
            if is_claimed(name) {
                claimed.push(name.to_owned());
            }
            for read in [AUTHORIZATION, CONTENT_TYPE, REQUEST_ID] {
                if name.eq_ignore_ascii_case(read.as_str()) {
                    headers.append(read, readable(value));
                }
            }
        }
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri(&http.path);
        *request.headers_mut() = headers;
        Self { request, claimed }
    }
}

/// Returns every field by name and value. A proxy fills one of the two.
fn fields(http: &HttpRequest) -> Vec<(&str, &[u8])> {
    match &http.header_map {
        Some(map) => map
            .headers
            .iter()
            .map(|field| {
                (&*field.key, if field.raw_value.is_empty() { field.value.as_bytes() } else { &field.raw_value })
            })
            .collect(),
        None => http.headers.iter().map(|(name, value)| (&**name, value.as_bytes())).collect(),
    }
}

/// Converts a value. An invalid one is replaced, not dropped: a second `authorization` would then stand
/// alone.
fn readable(value: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(value).unwrap_or(const { HeaderValue::from_static("Bearer") })
}

/// Returns true if only this service may set the field. Some servers treat `_` as `-`.
fn is_claimed(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    name.starts_with(PREFIX) && HeaderName::from_bytes(name.as_bytes()).is_ok()
}

/// Returns the path byte for byte. If a parser would read it differently, returns `/`, which has no policy.
fn uri(target: &str) -> Uri {
    let path = target.split_once('?').map_or(target, |(path, _query)| path);
    match PathAndQuery::try_from(path) {
        Ok(read) if read.as_str() == path => Uri::from(read),
        Ok(_) | Err(_) => Uri::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::{
        config::core::v3::{HeaderMap as RawHeaders, HeaderValue as RawHeader},
        service::auth::v3::{AttributeContext, attribute_context},
    };

    fn question(http: HttpRequest) -> Question {
        let request = Some(attribute_context::Request { http: Some(http) });
        Question::of(CheckRequest { attributes: Some(AttributeContext { request }) })
    }

    fn raw(fields: &[(&str, &[u8])]) -> HttpRequest {
        let field = |(key, value): &(&str, &[u8])| RawHeader {
            key: (*key).to_owned(),
            raw_value: value.to_vec(),
            ..RawHeader::default()
        };
        HttpRequest {
            header_map: Some(RawHeaders { headers: fields.iter().map(field).collect() }),
            ..HttpRequest::default()
        }
    }

    #[test]
    fn a_path_is_taken_byte_for_byte_and_its_query_is_not() {
        for (target, path) in [
            ("/a.B/C", "/a.B/C"),
            ("/a.B/C?x=/d.E/F", "/a.B/C"),
            ("//a.B/C", "//a.B/C"),
            ("/a.B/%43", "/a.B/%43"),
            ("/a.B/C/../D", "/a.B/C/../D"),
            // Neither parts that a parser would drop, nor another form of a target.
            ("/a.B/C#d", "/"),
            ("/a.B/C\n", "/"),
            ("https://other/a.B/C", "/"),
            ("", "/"),
        ] {
            let asked = question(HttpRequest { path: target.to_owned(), ..HttpRequest::default() });
            assert_eq!(asked.request.uri().path(), path, "{target:?}");
        }
    }

    #[test]
    fn a_question_without_a_request_asks_about_no_method() {
        assert_eq!(Question::of(CheckRequest::default()).request.uri().path(), "/");
    }

    #[test]
    fn two_authorizations_stay_two_even_if_one_cannot_be_read() {
        let asked = question(raw(&[("authorization", b"Bearer \n"), ("Authorization", b"Bearer a.b.c")]));
        let values: Vec<_> = asked.request.headers().get_all(AUTHORIZATION).iter().collect();
        assert_eq!(values, ["Bearer", "Bearer a.b.c"]);
    }

    #[test]
    fn fields_that_only_this_service_sets_are_found_in_every_spelling() {
        let asked = question(raw(&[
            ("x-token-subject", b"root"),
            ("X-Token-Anything", b""),
            ("x_token_scopes", b"all"),
            ("x-tokens", b"mine"),
        ]));
        assert_eq!(asked.claimed, ["x-token-subject", "X-Token-Anything", "x_token_scopes"]);
    }

    #[test]
    fn debug_shows_no_field() {
        let http = HttpRequest {
            headers: [("authorization".to_owned(), "Bearer secret".to_owned())].into(),
            ..raw(&[("authorization", b"Bearer secret")])
        };
        let shown = format!("{http:?}");
        assert!(!shown.contains("secret") && !shown.contains("115, 101"), "{shown}");
    }
}
