//! Closed load: a fixed number of requests in flight, each sent when the previous one has been answered. It
//! shows the cost of a request. It says little about latency, which [`crate::open`] measures.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use token_proto::token::v1::{self, client_authentication::Credential, token_service_client::TokenServiceClient};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::{
    issuer::{self, CLIENT_ID},
    process::Server,
};

/// Requests in flight.
const IN_FLIGHT: usize = 32;
/// HTTP/2 connections that they share.
const CONNECTIONS: usize = 2;

/// The request, and the protocol that carries it.
#[derive(Clone)]
pub(crate) enum Face {
    /// The least that gRPC can do.
    GrpcEmpty,
    /// The same with a header that only a layer around the service reads, if there is one.
    GrpcBearer(MetadataValue<Ascii>),
    GrpcIssue,
    /// A request of one of this many clients, at random.
    GrpcIssueFor(usize),
    /// One request for each of this many clients.
    GrpcIssueForEach(usize),
    HttpIssue,
    /// Any request over HTTP/1.1.
    Http(Arc<[u8]>),
}

/// The result of one run.
#[derive(Clone, Copy)]
pub(crate) struct Measurement {
    pub(crate) cpu_micros: f64,
    pub(crate) per_second: f64,
}

/// Asks `server` for `duration`, from a thread of its own.
pub(crate) fn run(face: &Face, server: &Server, duration: Duration) -> Measurement {
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(measure(face, server, duration))
        });
        load.join().unwrap()
    })
}

/// Each case once in each round, in turn, so that a noisy moment hits all alike; medians. The first round
/// warms up.
pub(crate) fn rounds(cases: &[(Face, &Server)], rounds: usize, duration: Duration) -> Vec<Measurement> {
    let mut measured = vec![Vec::new(); cases.len()];
    for round in 0..=rounds {
        for ((face, server), measured) in cases.iter().zip(&mut measured) {
            let measurement = run(face, server, duration);
            if round > 0 {
                measured.push(measurement);
            }
        }
    }
    measured
        .into_iter()
        .map(|measured| Measurement {
            cpu_micros: median(measured.iter().map(|m| m.cpu_micros)),
            per_second: median(measured.iter().map(|m| m.per_second)),
        })
        .collect()
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

async fn measure(face: &Face, server: &Server, duration: Duration) -> Measurement {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
        if !matches!(face, Face::HttpIssue | Face::Http(_)) {
            channels.push(endpoint.connect().await.unwrap());
        }
    }
    let mut callers = Vec::new();
    for n in 0..IN_FLIGHT {
        callers.push(Caller::new(face, n, server.address, channels.get(n % CONNECTIONS)).await);
    }
    let awake = tokio::spawn(stay_awake());
    let (cpu, started) = (server.cpu(), Instant::now());
    let tasks: Vec<_> =
        callers.into_iter().map(|caller| tokio::spawn(caller.repeat(started.checked_add(duration)))).collect();
    let mut requests = 0;
    for task in tasks {
        requests += task.await.unwrap();
    }
    let (elapsed, cpu) = (started.elapsed(), server.cpu() - cpu);
    awake.abort();
    Measurement {
        cpu_micros: cpu.as_secs_f64() * 1e6 / f64::from(requests),
        per_second: f64::from(requests) / elapsed.as_secs_f64(),
    }
}

/// Keeps this thread from sleeping. Linux counts the work of waking it for the sender, on a virtual machine
/// as much as the cost of an echo. A server whose callers are on other machines does not do this work.
async fn stay_awake() {
    loop {
        tokio::task::yield_now().await;
    }
}

enum Caller {
    Empty(TokenServiceClient<Channel>, Option<MetadataValue<Ascii>>),
    Issue(TokenServiceClient<Channel>, v1::IssueTokenRequest),
    IssueFor { client: TokenServiceClient<Channel>, message: v1::IssueTokenRequest, clients: usize, state: u64 },
    Each { client: TokenServiceClient<Channel>, message: v1::IssueTokenRequest, clients: std::vec::IntoIter<usize> },
    Http { stream: TcpStream, request: Arc<[u8]>, answer: Vec<u8> },
}

impl Caller {
    async fn new(face: &Face, number: usize, address: SocketAddr, channel: Option<&Channel>) -> Self {
        let grpc = || TokenServiceClient::new(channel.unwrap().clone());
        match face {
            Face::GrpcEmpty => Self::Empty(grpc(), None),
            Face::GrpcBearer(bearer) => Self::Empty(grpc(), Some(bearer.clone())),
            Face::GrpcIssue => Self::Issue(grpc(), message(CLIENT_ID)),
            Face::GrpcIssueFor(clients) => {
                let state = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                Self::IssueFor { client: grpc(), message: message(""), clients: *clients, state }
            }
            Face::GrpcIssueForEach(clients) => {
                let clients: Vec<_> = (number..*clients).step_by(IN_FLIGHT).collect();
                Self::Each { client: grpc(), message: message(""), clients: clients.into_iter() }
            }
            Face::HttpIssue => Self::http(address, token_request().into()).await,
            Face::Http(request) => Self::http(address, Arc::clone(request)).await,
        }
    }

    async fn http(address: SocketAddr, request: Arc<[u8]>) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::Http { stream, request, answer: vec![0; 16 * 1024] }
    }

    async fn repeat(mut self, until: Option<Instant>) -> u32 {
        let mut requests = 0;
        while until.is_none_or(|until| Instant::now() < until) && self.once().await {
            requests += 1;
        }
        requests
    }

    /// False when there are no more requests.
    async fn once(&mut self) -> bool {
        match self {
            Self::Empty(client, bearer) => {
                let mut request = Request::new(v1::GetUserInfoRequest {});
                if let Some(bearer) = bearer {
                    request.metadata_mut().insert("authorization", bearer.clone());
                }
                client.get_user_info(request).await.unwrap();
            }
            Self::Issue(client, message) => issue(client, message.clone()).await,
            Self::IssueFor { client, message, clients, state } => {
                // xorshift64: any client, with the same probability.
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                let number = usize::try_from(*state >> 8).unwrap() % *clients;
                let mut message = message.clone();
                message.client.as_mut().unwrap().client_id = issuer::client_id(number);
                issue(client, message).await;
            }
            Self::Each { client, message, clients } => {
                let Some(number) = clients.next() else { return false };
                let mut message = message.clone();
                message.client.as_mut().unwrap().client_id = issuer::client_id(number);
                issue(client, message).await;
            }
            Self::Http { stream, request, answer } => {
                stream.write_all(request).await.unwrap();
                read_answer(stream, answer).await;
            }
        }
        true
    }
}

pub(crate) async fn issue(client: &mut TokenServiceClient<Channel>, message: v1::IssueTokenRequest) {
    let answer = client.issue_token(message).await.unwrap().into_inner();
    assert!(answer.token.is_some_and(|token| token.value.len() > 300));
}

pub(crate) fn message(client_id: &str) -> v1::IssueTokenRequest {
    v1::IssueTokenRequest {
        client: Some(v1::ClientAuthentication {
            client_id: client_id.to_owned(),
            credential: Some(Credential::ClientSecret(issuer::secret().to_owned())),
        }),
        audiences: vec!["inventory".to_owned()],
        ..v1::IssueTokenRequest::default()
    }
}

/// `POST /oauth/token`.
pub(crate) fn token_request() -> Vec<u8> {
    let secret = issuer::secret();
    form(
        "/oauth/token",
        &format!("grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={secret}&audience=inventory"),
    )
}

/// A form, as any OAuth client sends it.
pub(crate) fn form(path: &str, body: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_str(), body].concat().into_bytes()
}

/// Just enough HTTP/1.1 to find the end of an answer.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut length = 0;
    loop {
        let read = stream.read(&mut buffer[length..]).await.unwrap();
        assert!(read > 0, "the server hung up");
        length += read;
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("HTTP/1.1 200"), "{text}");
        let field = |name: &str| {
            let line = head.lines().find(|line| line.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name)));
            line.map(|line| line[name.len()..].trim())
        };
        let whole = match field("content-length:") {
            Some(expected) => body.len() == expected.parse::<usize>().unwrap(),
            None => body.ends_with("0\r\n\r\n"),
        };
        if whole {
            return;
        }
    }
}
