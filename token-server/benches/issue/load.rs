//! The load: a fixed number of requests in flight, each sent when the one before it has been answered.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use token_proto::v1::{self, client_authentication::Credential, token_service_client::TokenServiceClient};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::transport::{Channel, Endpoint};

use crate::{cpu, subject};

/// Requests in flight.
const IN_FLIGHT: usize = 32;
/// HTTP/2 connections that they share.
const CONNECTIONS: usize = 2;

/// What is asked for, and how.
#[derive(Clone, Copy)]
pub(crate) enum Face {
    GrpcEmpty,
    GrpcIssue,
    HttpIssue,
}

/// What one run came to.
pub(crate) struct Measurement {
    pub(crate) cpu_micros: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_millis: f64,
    pub(crate) p99_millis: f64,
}

/// Asks for `duration`, from a thread of its own.
pub(crate) fn run(face: Face, address: SocketAddr, duration: Duration) -> Measurement {
    let load = move || {
        cpu::this_thread_is_load();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(measure(face, address, duration))
    };
    std::thread::spawn(load).join().unwrap()
}

async fn measure(face: Face, address: SocketAddr, duration: Duration) -> Measurement {
    let mut callers = Vec::new();
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap());
    }
    for n in 0..IN_FLIGHT {
        callers.push(Caller::new(face, address, &channels[n % CONNECTIONS]).await);
    }
    let (cpu, started) = (cpu::of_the_server(), Instant::now());
    let tasks: Vec<_> = callers.into_iter().map(|caller| tokio::spawn(caller.repeat(started + duration))).collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    let (elapsed, cpu) = (started.elapsed(), cpu::of_the_server() - cpu);
    latencies.sort();
    let requests = latencies.len() as f64;
    let at = |part: f64| latencies[(requests * part) as usize].as_secs_f64() * 1e3;
    Measurement {
        cpu_micros: cpu.as_secs_f64() * 1e6 / requests,
        per_second: requests / elapsed.as_secs_f64(),
        p50_millis: at(0.50),
        p99_millis: at(0.99),
    }
}

enum Caller {
    GrpcEmpty(TokenServiceClient<Channel>),
    GrpcIssue(TokenServiceClient<Channel>, v1::IssueTokenRequest),
    Http { stream: TcpStream, request: Vec<u8>, answer: Vec<u8> },
}

impl Caller {
    async fn new(face: Face, address: SocketAddr, channel: &Channel) -> Self {
        let client = TokenServiceClient::new(channel.clone());
        match face {
            Face::GrpcEmpty => Self::GrpcEmpty(client),
            Face::GrpcIssue => Self::GrpcIssue(client, message()),
            Face::HttpIssue => {
                let stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                Self::Http { stream, request: http_request(address), answer: vec![0; 8192] }
            }
        }
    }

    async fn repeat(mut self, until: Instant) -> Vec<Duration> {
        let mut latencies = Vec::with_capacity(100_000);
        while Instant::now() < until {
            let started = Instant::now();
            self.once().await;
            latencies.push(started.elapsed());
        }
        latencies
    }

    async fn once(&mut self) {
        match self {
            Self::GrpcEmpty(client) => {
                client.get_user_info(v1::GetUserInfoRequest {}).await.unwrap();
            }
            Self::GrpcIssue(client, message) => {
                let answer = client.issue_token(message.clone()).await.unwrap().into_inner();
                assert!(answer.token.is_some_and(|token| token.value.len() > 300));
            }
            Self::Http { stream, request, answer } => {
                stream.write_all(request).await.unwrap();
                read_answer(stream, answer).await;
            }
        }
    }
}

fn message() -> v1::IssueTokenRequest {
    v1::IssueTokenRequest {
        client: Some(v1::ClientAuthentication {
            client_id: subject::CLIENT_ID.to_owned(),
            credential: Some(Credential::ClientSecret(subject::secret().to_owned())),
        }),
        audiences: vec!["inventory".to_owned()],
        ..v1::IssueTokenRequest::default()
    }
}

fn http_request(address: SocketAddr) -> Vec<u8> {
    let body = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&audience=inventory",
        subject::CLIENT_ID,
        subject::secret()
    );
    let head = format!(
        "POST /oauth/token HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head, body].concat().into_bytes()
}

/// Just enough HTTP/1.1 to find the end of an answer.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut length = 0;
    loop {
        length += stream.read(&mut buffer[length..]).await.unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("HTTP/1.1 200"), "{text}");
        let expected = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == expected.parse::<usize>().unwrap() {
            return;
        }
    }
}
