//! The HTTP request → the gRPC request that says the same, or the reason that there is none.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method as Verb, Request, Response, StatusCode, Uri, Version,
    header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, TRANSFER_ENCODING},
    request::Parts,
};
use token_issuer::origin::{Origin, REQUEST_ID};
use tonic::body::Body;

use super::{
    Encoding,
    answer::Answering,
    body::MessageBody,
    contract::{Contract, Method},
    error,
    query::{self, Wrong},
};
use crate::{connection, grpc::status};

const VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// Header fields that describe the request as it was sent. The gRPC request has its own, or none.
const OF_THE_FORM: [HeaderName; 10] = [
    CONTENT_TYPE,
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    TRANSFER_ENCODING,
    EXPECT,
    VERSION,
    TIMEOUT,
    GRPC_TIMEOUT,
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-accept-encoding"),
];

/// The form in which a POST asks for a call.
enum Form {
    Unary(Encoding),
    /// The value is the content type, which the answer repeats.
    Streaming(HeaderValue),
}

/// The reason that a request asks for no call.
enum Refusal {
    Options(HeaderValue),
    Verb(HeaderValue),
    MediaType,
    Query,
    Version,
    Timeout,
    Compression,
    /// The method sends a stream. The content type is that of a streaming request.
    Stream(Option<HeaderValue>),
}

/// Returns the gRPC request for the method at `path`, and the way back for its answer.
pub(super) fn read(request: Request<Body>, path: &str) -> Result<(Request<Body>, Answering), Box<Response<Body>>> {
    let origin = connection::origin(request.headers(), request.extensions());
    let http_1 = request.version() != Version::HTTP_2;
    let (mut head, body) = request.into_parts();
    // One ID for the whole request, so that every layer below names it alike.
    head.headers.insert(REQUEST_ID, origin.request_id().header_value());
    let Some(method) = Contract::embedded().and_then(|contract| contract.method(path)) else {
        // Its service refuses it.
        let back = Answering { encoding: Encoding::Json, output: None, http_1, origin };
        return Ok((into_grpc(head, path, None, Body::empty()), back));
    };
    let (encoding, timeout, body) = match check(method, &head, body) {
        Ok(checked) => checked,
        Err(refusal) => return Err(Box::new(refusal.answer(&origin))),
    };
    let body = Body::new(MessageBody::new(body, encoding, method.input.clone(), origin.clone()));
    let back = Answering { encoding, output: Some(method.output.clone()), http_1, origin };
    Ok((into_grpc(head, path, timeout, body), back))
}

/// Checks the head. Returns the message, its encoding and the timeout.
fn check(method: &Method, head: &Parts, body: Body) -> Result<(Encoding, Option<HeaderValue>, Body), Refusal> {
    let (encoding, body) = if head.method == Verb::POST {
        match form(&head.headers).ok_or(Refusal::MediaType)? {
            Form::Unary(encoding) => (encoding, body),
            Form::Streaming(kind) if method.stream => return Err(Refusal::Stream(Some(kind))),
            Form::Streaming(_) => return Err(Refusal::MediaType),
        }
    } else if head.method == Verb::GET && method.no_side_effects {
        let (encoding, message) = query::message(head.uri.query().unwrap_or_default()).map_err(Refusal::from)?;
        (encoding, Body::new(axum::body::Body::from(message)))
    } else {
        let allow = if method.no_side_effects { "GET, POST, OPTIONS" } else { "POST, OPTIONS" };
        let refusal = if head.method == Verb::OPTIONS { Refusal::Options } else { Refusal::Verb };
        return Err(refusal(HeaderValue::from_static(allow)));
    };
    if method.stream {
        return Err(Refusal::Stream(None));
    }
    if one(&head.headers, &VERSION).is_ok_and(|version| version.is_none_or(|version| version == "1")) {
        let identity = |coding: &HeaderValue| coding.as_bytes().is_empty() || coding.as_bytes() == b"identity";
        if !head.headers.get_all(CONTENT_ENCODING).iter().all(identity) {
            return Err(Refusal::Compression);
        }
        Ok((encoding, timeout(&head.headers)?, body))
    } else {
        Err(Refusal::Version)
    }
}

/// Returns the one value of a field, if the field is there.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// Returns the form that the content type names. Only UTF-8 is a character set of JSON.
fn form(headers: &HeaderMap) -> Option<Form> {
    let value = one(headers, &CONTENT_TYPE).ok()??;
    let (kind, parameters) = value.split_once(';').unwrap_or((value, ""));
    let parameter = parameters.trim().to_ascii_lowercase();
    if !matches!(&*parameter, "" | "charset=utf-8" | "charset=\"utf-8\"") {
        return None;
    }
    let kind = kind.trim().to_ascii_lowercase();
    match kind.strip_prefix("application/")? {
        "connect+json" => Some(Form::Streaming(HeaderValue::from_static("application/connect+json"))),
        "connect+proto" => Some(Form::Streaming(HeaderValue::from_static("application/connect+proto"))),
        name => Encoding::named(name).map(Form::Unary),
    }
}

/// Returns the timeout as gRPC writes it: at most eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
    let Some(text) = one(headers, &TIMEOUT).map_err(|()| Refusal::Timeout)? else { return Ok(None) };
    if !(1..=10).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Timeout);
    }
    let millis: u64 = text.parse().map_err(|_| Refusal::Timeout)?;
    let text = if millis < 100_000_000 { format!("{millis}m") } else { format!("{}S", millis / 1000) };
    HeaderValue::try_from(text).map(Some).map_err(|_| Refusal::Timeout)
}

fn into_grpc(mut head: Parts, path: &str, timeout: Option<HeaderValue>, body: Body) -> Request<Body> {
    for name in OF_THE_FORM {
        head.headers.remove(name);
    }
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if let Some(timeout) = timeout {
        head.headers.insert(GRPC_TIMEOUT, timeout);
    }
    (head.method, head.version) = (Verb::POST, Version::HTTP_2);
    let mut uri = head.uri.into_parts();
    // Without the query, which is in the message now. A path that is none is of no method.
    uri.path_and_query = path.parse().ok();
    head.uri = Uri::from_parts(uri).unwrap_or_default();
    Request::from_parts(head, body)
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Malformed => Self::Query,
            Wrong::Version => Self::Version,
            Wrong::Encoding => Self::MediaType,
            Wrong::Compression => Self::Compression,
        }
    }
}

impl Refusal {
    fn answer(self, origin: &Origin) -> Response<Body> {
        let malformed = |sentence| error::refused(StatusCode::BAD_REQUEST, sentence, origin);
        match self {
            Self::Options(allow) => {
                let mut answer = Response::new(Body::empty());
                *answer.status_mut() = StatusCode::NO_CONTENT;
                answer.headers_mut().insert(ALLOW, allow);
                answer
            }
            Self::Verb(allow) => {
                let sentence = "Call the method by one of the HTTP methods in Allow.";
                with(error::refused(StatusCode::METHOD_NOT_ALLOWED, sentence, origin), ALLOW, allow)
            }
            Self::MediaType => {
                let sentence = "The content type must be application/json or application/proto.";
                let accepted = HeaderValue::from_static("application/json, application/proto");
                with(error::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence, origin), ACCEPT_POST, accepted)
            }
            Self::Query => malformed("The query must have encoding and message once each, well encoded."),
            Self::Version => malformed("The only supported version of the Connect protocol is 1."),
            Self::Timeout => malformed("Connect-Timeout-Ms must be one number of at most ten digits."),
            Self::Compression => {
                let sentence = "Messages must not be compressed; send the message unencoded.";
                let answer = error::of_status(&status::unimplemented(sentence, origin));
                with(answer, ACCEPT_ENCODING, HeaderValue::from_static("identity"))
            }
            Self::Stream(streaming) => {
                let status = status::unimplemented("The method sends a stream; call it over gRPC or gRPC-Web.", origin);
                match streaming {
                    Some(content_type) => error::of_stream(&status, content_type),
                    None => error::of_status(&status),
                }
            }
        }
    }
}

fn with(mut answer: Response<Body>, name: HeaderName, value: HeaderValue) -> Response<Body> {
    answer.headers_mut().insert(name, value);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn content_types_are_told_apart() {
        let unary = |value| match form(&headers(&[("content-type", value)])) {
            Some(Form::Unary(encoding)) => Some(encoding),
            Some(Form::Streaming(_)) | None => None,
        };
        for json in ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json;"] {
            assert_eq!(unary(json), Some(Encoding::Json), "{json}");
        }
        assert_eq!(unary("application/proto"), Some(Encoding::Proto));
        for other in ["", "text/plain", "application/json; charset=latin1", "application/json, application/proto"] {
            assert_eq!(unary(other), None, "{other}");
        }
        let streaming = form(&headers(&[("content-type", "application/connect+json")]));
        assert!(matches!(streaming, Some(Form::Streaming(_))));
        let twice = headers(&[("content-type", "application/json"), ("content-type", "application/json")]);
        assert!(form(&twice).is_none() && form(&HeaderMap::new()).is_none());
    }

    #[test]
    fn timeouts_are_written_as_in_grpc() {
        let read = |value| timeout(&headers(&[("connect-timeout-ms", value)])).ok().flatten();
        for (millis, grpc) in [("5", "5m"), ("99999999", "99999999m"), ("9999999999", "9999999S"), ("0", "0m")] {
            assert_eq!(read(millis).unwrap(), grpc, "{millis}");
        }
        for wrong in ["", "-1", "+1", "1.5", "5m", "10000000000", " 5"] {
            assert!(timeout(&headers(&[("connect-timeout-ms", wrong)])).is_err(), "{wrong}");
        }
        assert!(timeout(&headers(&[("connect-timeout-ms", "5"), ("connect-timeout-ms", "5")])).is_err());
        assert!(timeout(&headers(&[("grpc-timeout", "5S")])).is_ok_and(|none| none.is_none()));
    }

    #[test]
    fn a_grpc_request_keeps_metadata_and_no_form() {
        let request = Request::get("http://a/sso/m2m.token.v1.TrustService/ListKeys?encoding=json&message=%7B%7D")
            .header("authorization", "Bearer x")
            .header("grpc-timeout", "1n")
            .header("grpc-encoding", "gzip")
            .header("grpc-accept-encoding", "gzip")
            .header("connect-protocol-version", "1")
            .header("connect-timeout-ms", "7");
        let path = "/m2m.token.v1.TrustService/ListKeys";
        let (grpc, _) = read(request.body(Body::empty()).unwrap(), path).unwrap_or_else(|_| panic!("refused"));
        assert_eq!(
            (grpc.method(), grpc.version(), &*grpc.uri().to_string()),
            (&Verb::POST, Version::HTTP_2, "http://a/m2m.token.v1.TrustService/ListKeys")
        );
        let mut names: Vec<&str> = grpc.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "content-type", "grpc-timeout", "x-request-id"]);
        assert_eq!(grpc.headers()["grpc-timeout"], "7m");
        assert_eq!(grpc.headers()["content-type"], "application/grpc");
    }
}
