//! Requests that violate HTTP, rejected before any other work.
//!
//! These are the checks that hyper leaves to the service, and ambiguities that a proxy in front may read
//! differently from this server. RFC 9110, RFC 9112, RFC 9113.

use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Version,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING},
};

use super::protocol::Protocol;
use crate::http::BODY_BYTES_MAX;

/// A response in place of the service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The request breaks a rule, or needs an unsupported feature.
    Refused(StatusCode, &'static str),
    /// `OPTIONS *`: a request about the server itself. RFC 9110 section 9.3.7.
    Options,
}

use Verdict::Refused;

/// Checks a request by its head. `header_bytes_max` limits the header list. RFC 9113 section 6.5.2.
pub(crate) fn judge<B>(request: &Request<B>, header_bytes_max: usize) -> Result<(), Verdict> {
    let headers = request.headers();
    let http_2 = request.version() == Version::HTTP_2;
    // In HTTP/2 the transport has already counted.
    if !http_2 && header_bytes(headers) + target_bytes(request) > header_bytes_max {
        let why = "The header fields are longer than this server reads.";
        return Err(Refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, why));
    }
    host(request)?;
    if !http_2 {
        transfer_coding(headers)?;
    }
    if Protocol::arrived(request) == Protocol::Http {
        body(headers)?;
    }
    if request.uri().path() == "*" {
        return Err(match *request.method() {
            Method::OPTIONS => Verdict::Options,
            _ => Refused(StatusCode::BAD_REQUEST, "Only OPTIONS may use the target *."),
        });
    }
    Ok(())
}

/// Returns the size of a header list, counted as in RFC 9113 section 6.5.2.
pub(crate) fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

fn target_bytes<B>(request: &Request<B>) -> usize {
    request.uri().path_and_query().map_or(0, |target| target.as_str().len())
}

/// Checks that there is one host, and that it is valid. RFC 9112 section 3.2, RFC 9113 section 8.3.1.
fn host<B>(request: &Request<B>) -> Result<(), Verdict> {
    const NO_HOST: Verdict = Refused(StatusCode::BAD_REQUEST, "The Host field is missing.");
    const TWO_HOSTS: Verdict = Refused(StatusCode::BAD_REQUEST, "The Host field is repeated.");
    const BAD_HOST: Verdict = Refused(StatusCode::BAD_REQUEST, "The Host field is malformed.");
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, authority) = (hosts.next(), request.uri().authority());
    if hosts.next().is_some() {
        return Err(TWO_HOSTS);
    }
    let valid = |authority: &[u8]| if is_host(authority) { Ok(()) } else { Err(BAD_HOST) };
    if let Some(host) = host {
        valid(host.as_bytes())?;
    }
    if let Some(authority) = authority {
        valid(authority.as_str().as_bytes())?;
    }
    match (host, authority, request.version()) {
        (Some(host), Some(authority), Version::HTTP_2)
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            Err(Refused(StatusCode::BAD_REQUEST, "The Host field contradicts :authority."))
        }
        (None, _, Version::HTTP_11) => Err(NO_HOST),
        // The gRPC protocol lets clients omit :authority.
        (None, None, Version::HTTP_2) if Protocol::of(request.headers()) == Protocol::Http => Err(NO_HOST),
        (Some(_) | None, ..) => Ok(()),
    }
}

/// Returns true for a name or an address with an optional port. RFC 3986 section 3.2, without user
/// information.
fn is_host(authority: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(authority) else { return false };
    let is_port = |port: &str| port.is_empty() || port.parse::<u16>().is_ok() && !port.starts_with('+');
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let port = if port.is_empty() { Some("") } else { port.strip_prefix(':') };
        return address.parse::<std::net::Ipv6Addr>().is_ok() && port.is_some_and(is_port);
    }
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    !name.is_empty() && is_name(name.as_bytes()) && is_port(port)
}

/// Returns true for a `reg-name`. RFC 3986 section 3.2.2.
fn is_name(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'%' => {
                let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
                digit(bytes.next()) && digit(bytes.next())
            }
            b'-' | b'.' | b'_' | b'~' => true,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => true,
            other => other.is_ascii_alphanumeric(),
        };
        if !fits {
            return false;
        }
    }
    true
}

/// Checks that the only transfer coding is `chunked`, applied once. RFC 9112 section 6.1.
fn transfer_coding(headers: &HeaderMap) -> Result<(), Verdict> {
    let mut chunked = 0;
    for coding in members(headers, TRANSFER_ENCODING) {
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(Refused(StatusCode::NOT_IMPLEMENTED, "The only supported transfer coding is chunked."));
        }
        chunked += 1;
    }
    if chunked > 1 { Err(Refused(StatusCode::BAD_REQUEST, "The body is chunked twice.")) } else { Ok(()) }
}

/// Checks the body of a request that calls no method. Messages have their own limits and codings.
fn body(headers: &HeaderMap) -> Result<(), Verdict> {
    if members(headers, CONTENT_ENCODING).any(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
        let why = "Content codings are not supported; send the body unencoded.";
        return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    // RFC 9110 section 10.1.1: rejects early, so that a caller waiting for 100 (Continue) does not send the
    // body.
    let length = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes).unwrap_or_default();
    // A length with more digits than a number holds is too long as well.
    let too_long = length.len() > 19
        || std::str::from_utf8(length).ok().and_then(|length| length.parse::<usize>().ok()).unwrap_or_default()
            > BODY_BYTES_MAX;
    if too_long {
        return Err(Refused(StatusCode::PAYLOAD_TOO_LARGE, "The body is longer than this server reads."));
    }
    if members(headers, EXPECT).any(|expected| !expected.eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refused(StatusCode::EXPECTATION_FAILED, "The only supported expectation is 100-continue."));
    }
    Ok(())
}

/// Returns the members of a list over all its lines, without empty ones. RFC 9110 section 5.6.1.
fn members(headers: &HeaderMap, name: http::HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(name).into_iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii));
    members.filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 16 * 1024;

    fn judged(version: Version, target: &str, headers: &[(&'static str, &str)]) -> Result<(), Verdict> {
        let mut request = Request::builder().method(Method::POST).version(version).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        judge(&request.body(()).unwrap(), MAX)
    }

    fn status(version: Version, target: &str, headers: &[(&'static str, &str)]) -> u16 {
        match judged(version, target, headers) {
            Ok(()) => 200,
            Err(Refused(status, _)) => status.as_u16(),
            Err(Verdict::Options) => 204,
        }
    }

    const HTTP_1: Version = Version::HTTP_11;
    const HTTP_2: Version = Version::HTTP_2;

    #[test]
    fn host_must_be_there_once_and_be_a_host() {
        for good in ["a", "a.example:8443", "127.0.0.1:1", "[::1]", "[2001:db8::1]:443", "a:", "a%20b", "xn--a_b.test"]
        {
            assert_eq!(status(HTTP_1, "/", &[("host", good)]), 200, "{good}");
            assert_eq!(status(HTTP_2, "/", &[("host", good)]), 200, "{good}");
        }
        for bad in [
            "",
            "a b",
            "a/b",
            "user@a",
            "a:b",
            "a:65536",
            "a:+1",
            "[::1",
            "[::1]x",
            "[::g]",
            "::1",
            ":80",
            "a%2",
            "a?",
            "a#",
            "a\\b",
            "a\"",
            "a:1:2",
            "[fe80::1%25eth0]",
        ] {
            assert_eq!(status(HTTP_1, "/", &[("host", bad)]), 400, "{bad}");
            assert_eq!(status(HTTP_2, "/", &[("host", bad)]), 400, "{bad}");
        }
        assert_eq!(status(HTTP_1, "/", &[]), 400);
        assert_eq!(status(HTTP_1, "http://a/", &[]), 400, "also where the target names one");
        assert_eq!(status(HTTP_1, "http://a/", &[("host", "b")]), 200, "the target counts");
        assert_eq!(status(Version::HTTP_10, "/", &[]), 200);
        for version in [HTTP_1, HTTP_2, Version::HTTP_10] {
            assert_eq!(status(version, "/", &[("host", "a"), ("host", "a")]), 400);
            assert_eq!(status(version, "/", &[("host", "a"), ("host", "b")]), 400);
        }
    }

    #[test]
    fn authority_of_http_2_stands_for_the_host() {
        assert_eq!(status(HTTP_2, "http://a/", &[]), 200);
        assert_eq!(status(HTTP_2, "http://a/", &[("host", "A")]), 200);
        assert_eq!(status(HTTP_2, "http://a/", &[("host", "b")]), 400);
        assert_eq!(status(HTTP_2, "http://user@a/", &[]), 400);
        assert_eq!(status(HTTP_2, "/", &[]), 400);
        assert_eq!(status(HTTP_2, "/", &[("content-type", "application/grpc")]), 200);
    }

    #[test]
    fn chunked_is_the_only_transfer_coding_and_is_applied_once() {
        let coded = |codings: &[&str]| {
            let mut headers = vec![("host", "a")];
            headers.extend(codings.iter().map(|coding| ("transfer-encoding", *coding)));
            status(HTTP_1, "/", &headers)
        };
        assert_eq!((coded(&["chunked"]), coded(&["Chunked"]), coded(&[" ,chunked"])), (200, 200, 200));
        for unknown in
            [&["gzip, chunked"][..], &["gzip", "chunked"], &["chunked, gzip"], &["identity"], &["chunked;x=1"]]
        {
            assert_eq!(coded(unknown), 501, "{unknown:?}");
        }
        assert_eq!((coded(&["chunked, chunked"]), coded(&["chunked", "chunked"])), (400, 400));
    }

    #[test]
    fn content_codings_are_refused_over_both_versions() {
        for version in [HTTP_1, HTTP_2] {
            let coded = |coding, kind| {
                status(version, "/", &[("host", "a"), ("content-encoding", coding), ("content-type", kind)])
            };
            for coding in ["gzip", "GZIP", "br", "deflate", "zstd", "identity, gzip", "made-up"] {
                assert_eq!(coded(coding, "application/x-www-form-urlencoded"), 415, "{coding}");
            }
            assert_eq!(coded("identity", "application/json"), 200);
            assert_eq!(coded("", "application/json"), 200);
            assert_eq!(coded("gzip", "application/grpc"), 200, "gRPC has a field of its own");
        }
    }

    #[test]
    fn body_that_is_too_long_is_refused_by_its_length() {
        for version in [HTTP_1, HTTP_2] {
            let long = |length| status(version, "/", &[("host", "a"), ("content-length", length)]);
            assert_eq!((long("65536"), long("65537"), long("200000")), (200, 413, 413));
            assert_eq!(long("99999999999999999999999999"), 413);
            let expected = [("host", "a"), ("content-length", "65537"), ("expect", "100-continue")];
            assert_eq!(status(version, "/", &expected), 413);
            assert_eq!(status(version, "/", &[("host", "a"), ("expect", "100-Continue")]), 200);
            assert_eq!(status(version, "/", &[("host", "a"), ("expect", "a-miracle")]), 417);
        }
    }

    #[test]
    fn heads_of_http_1_are_counted_as_those_of_http_2() {
        let list = |bytes: usize| "x".repeat(bytes - 2 * 32 - "hosta".len() - "x-long".len() - 1);
        assert_eq!(status(HTTP_1, "/", &[("host", "a"), ("x-long", &list(MAX))]), 200);
        assert_eq!(status(HTTP_1, "/", &[("host", "a"), ("x-long", &list(MAX + 1))]), 431);
        assert_eq!(status(HTTP_1, &format!("/{}", "x".repeat(MAX)), &[("host", "a")]), 431);
    }

    #[test]
    fn options_of_the_server_itself_are_answered() {
        let asked = |method, host| {
            let request = Request::builder().method(method).uri("*").header("host", host).body(()).unwrap();
            judge(&request, MAX)
        };
        assert_eq!(asked(Method::OPTIONS, "a"), Err(Verdict::Options));
        assert!(matches!(asked(Method::GET, "a"), Err(Refused(StatusCode::BAD_REQUEST, _))));
        assert!(matches!(asked(Method::OPTIONS, "a b"), Err(Refused(StatusCode::BAD_REQUEST, _))));
    }
}
