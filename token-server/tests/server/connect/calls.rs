//! One call in each protocol, through all layers of the server, and its answer in terms that they share.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, prost::Message as _};
use serde_json::{Value, json};
use token_server::server::Running;
use tonic::{Code, Status, body::Body};
use tower::{Service as _, ServiceExt as _};

/// A protocol, or a form of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Grpc,
    GrpcWeb,
    Json,
    Proto,
}

/// Everything that an answer says in each protocol.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) code: String,
    /// The message, or the sentence of a refusal.
    pub(super) told: Value,
    /// The type and the value of each detail, without the request ID.
    pub(super) details: Vec<Value>,
    pub(super) challenge: Option<HeaderValue>,
}

/// The descriptor set of the contract, with that of probes and of errors.
pub(super) fn pool() -> DescriptorPool {
    let mut pool = DescriptorPool::decode(token_proto::FILE_DESCRIPTOR_SET).unwrap();
    pool.decode_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET).unwrap();
    pool.decode_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET).unwrap();
    pool
}

/// Every method of the descriptor set, by its path.
pub(super) fn methods(pool: &DescriptorPool) -> Vec<(String, MethodDescriptor)> {
    let services: Vec<_> = pool.services().collect();
    let of = |service: &prost_reflect::ServiceDescriptor| {
        let path = |method: &MethodDescriptor| format!("/{}/{}", method.parent_service().full_name(), method.name());
        service.methods().map(|method| (path(&method), method)).collect::<Vec<_>>()
    };
    services.iter().flat_map(of).collect()
}

/// Sends a request past the socket.
pub(super) async fn send(server: &Running, request: Request<Body>) -> (http::response::Parts, Bytes, HeaderMap) {
    let mut service = server.service();
    let (head, body) = service.ready().await.unwrap().call(request).await.unwrap().into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    (head, collected.to_bytes(), trailers)
}

pub(super) fn body(bytes: Vec<u8>) -> Body {
    Body::new(Full::new(Bytes::from(bytes)).map_err(|never| match never {}))
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

/// Calls the method with a message in JSON, which is sent as the protocol has it.
pub(super) async fn call(
    server: &Running,
    over: Over,
    method: &MethodDescriptor,
    message: &Value,
    token: Option<&str>,
) -> Answer {
    let binary = || DynamicMessage::deserialize(method.input(), message).unwrap().encode_to_vec();
    let (content_type, version, sent) = match over {
        Over::Grpc => ("application/grpc", Version::HTTP_2, framed(&binary())),
        Over::GrpcWeb => ("application/grpc-web+proto", Version::HTTP_11, framed(&binary())),
        Over::Json => ("application/json", Version::HTTP_11, message.to_string().into_bytes()),
        Over::Proto => ("application/proto", Version::HTTP_2, binary()),
    };
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let mut request =
        Request::post(format!("http://localhost{path}")).version(version).header(CONTENT_TYPE, content_type);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let (head, bytes, trailers) = send(server, request.body(body(sent)).unwrap()).await;
    match over {
        Over::Grpc => of_grpc(&method.output(), &head.headers, &bytes, &trailers),
        Over::GrpcWeb => of_web(&method.output(), &head.headers, &bytes),
        Over::Json | Over::Proto => of_connect(&method.output(), over, &head, &bytes),
    }
}

fn of_grpc(output: &MessageDescriptor, head: &HeaderMap, bytes: &[u8], trailers: &HeaderMap) -> Answer {
    let status = Status::from_header_map(head).or_else(|| Status::from_header_map(trailers)).unwrap();
    if status.code() == Code::Ok {
        assert_eq!(framed(&bytes[5..]), bytes, "one message");
        return accepted(decoded(output, &bytes[5..]));
    }
    let challenge = status.metadata().clone().into_headers().remove("www-authenticate");
    let details = <tonic_types::pb::Status as prost::Message>::decode(status.details()).unwrap().details;
    let details = details.into_iter().map(|detail| {
        let kind = detail.type_url.strip_prefix("type.googleapis.com/").unwrap();
        json!({ "type": kind, "value": STANDARD_NO_PAD.encode(&detail.value) })
    });
    let code = format!("{:?}", status.code());
    Answer { code, told: status.message().into(), details: without_id(details), challenge }
}

/// The trailers are the last frame of the body, unless there is no message.
fn of_web(output: &MessageDescriptor, head: &HeaderMap, bytes: &[u8]) -> Answer {
    let (mut rest, mut message, mut trailers) = (bytes, Vec::new(), HeaderMap::new());
    while let Some(([flag, length @ ..], more)) = rest.split_first_chunk::<5>() {
        let (frame, next) = more.split_at(u32::from_be_bytes(*length) as usize);
        if *flag == 0x80 {
            for line in std::str::from_utf8(frame).unwrap().lines() {
                let (name, value) = line.split_once(':').unwrap();
                trailers.append(HeaderName::try_from(name).unwrap(), value.trim().parse().unwrap());
            }
        } else {
            message = framed(frame);
        }
        rest = next;
    }
    of_grpc(output, head, &message, &trailers)
}

fn of_connect(output: &MessageDescriptor, over: Over, head: &http::response::Parts, bytes: &[u8]) -> Answer {
    if head.status == 200 {
        let proto = over == Over::Proto;
        assert_eq!(head.headers[CONTENT_TYPE], if proto { "application/proto" } else { "application/json" });
        return accepted(if proto { decoded(output, bytes) } else { serde_json::from_slice(bytes).unwrap() });
    }
    assert_eq!(head.headers[CONTENT_TYPE], "application/json");
    let error: Value = serde_json::from_slice(bytes).unwrap();
    let details = error["details"].as_array().cloned().unwrap_or_default().into_iter().map(|mut detail| {
        assert!(detail.as_object_mut().unwrap().remove("debug").is_some(), "{error}");
        detail
    });
    Answer {
        code: in_words(error["code"].as_str().unwrap()),
        told: error["message"].clone(),
        details: without_id(details),
        challenge: head.headers.get("www-authenticate").cloned(),
    }
}

/// Returns `PermissionDenied` for `permission_denied`.
fn in_words(code: &str) -> String {
    code.split('_').map(|word| format!("{}{}", word[..1].to_ascii_uppercase(), &word[1..])).collect()
}

fn accepted(message: Value) -> Answer {
    Answer { code: "Ok".to_owned(), told: message, details: Vec::new(), challenge: None }
}

fn decoded(kind: &MessageDescriptor, bytes: &[u8]) -> Value {
    serde_json::to_value(DynamicMessage::decode(kind.clone(), bytes).unwrap()).unwrap()
}

fn without_id(details: impl Iterator<Item = Value>) -> Vec<Value> {
    details.filter(|detail| detail["type"] != "google.rpc.RequestInfo").collect()
}
