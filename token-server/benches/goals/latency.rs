//! Latency under open load: requests are sent when they are due, even if earlier ones have not been answered,
//! and their time runs from then. A stall counts for every request that it delays, so there is no coordinated
//! omission.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use prost::Message as _;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    issuer::{CLIENT_ID, Site},
    load::{self, Face},
    process::Server,
    report::Row,
};

const CONNECTIONS: usize = 16;
const DURATION: Duration = Duration::from_secs(5);
/// The time before the measurement starts. Answers in it do not count.
const SETTLING: Duration = Duration::from_secs(1);
/// Overload, as multiples of the greatest load that is served: one at which all requests can be answered, one
/// at which they cannot.
const OVERLOADS: [(f64, &str); 2] =
    [(1.1, "overload, a tenth more than that, open load"), (2.0, "overload, twice that, open load")];

pub(crate) fn measure() -> Vec<Row> {
    // All of this load comes from one address, but stands for the load of many.
    let site = Site::new(0, "threads = 1", "[limits]\nrequests_at_once_per_peer = 0");
    let server = site.start();
    load::run(&Face::GrpcIssue, &server, Duration::from_secs(1));
    let closed = load::run(&Face::GrpcIssue, &server, Duration::from_secs(2)).per_second;
    // The greatest load: the most that is served among loads around that of a few busy connections.
    let peak = [0.9, 1.0, 1.1].map(|part| open(&server, closed * part, DURATION / 2).goodput);
    let peak = peak.into_iter().fold(0.0, f64::max);
    let half = open(&server, peak / 2.0, DURATION);
    let mut rows = vec![
        Row::floor("the greatest load that is served, one server thread", format!("{peak:.0} tokens/s")),
        Row::goal(
            "latency at half of it, open load",
            "p99 < 5 ms",
            format!("{}; {} of {} refused", half.latencies(), half.shed, half.sent),
            half.at(0.99) < 5.0 && half.failed == 0,
        ),
    ];
    rows.extend(OVERLOADS.map(|(times, what)| overload(what, peak, &open(&server, peak * times, DURATION))));
    rows
}

fn overload(what: &'static str, peak: f64, over: &Outcome) -> Row {
    let shed = f64::from(over.shed) / f64::from(over.sent) * 100.0;
    let kept = over.goodput / peak * 100.0;
    Row::goal(
        what,
        "sheds with RESOURCE_EXHAUSTED; goodput within 10 % of its peak",
        format!(
            "goodput {kept:.0} % of the peak; {shed:.0} % refused so, {} failed otherwise{}; of those served {}",
            over.failed,
            over.why.as_ref().map_or(String::new(), |why| format!(" ({why})")),
            over.latencies()
        ),
        over.shed > 0 && kept >= 90.0,
    )
}

/// The outcomes of the requests.
struct Outcome {
    sent: u32,
    shed: u32,
    failed: u32,
    /// The first of them.
    why: Option<String>,
    /// The latencies of the served requests, sorted.
    latencies: Vec<Duration>,
    /// Tokens per second after the warm-up, until the last request was due.
    goodput: f64,
}

impl Outcome {
    /// In milliseconds.
    fn at(&self, part: f64) -> f64 {
        let place = (self.latencies.len() as f64 * part) as usize;
        self.latencies.get(place).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }

    fn latencies(&self) -> String {
        format!("p50 {:.2}, p99 {:.2}, p99.9 {:.2} ms", self.at(0.5), self.at(0.99), self.at(0.999))
    }
}

enum Answer {
    /// The time at which it was due, and the delay of its response.
    Token(Instant, Duration),
    Shed,
    Failed(String),
}

fn open(server: &Server, per_second: f64, duration: Duration) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(connect(server).await);
        }
        let body = framed();
        let mut under_way = JoinSet::new();
        let started = Instant::now();
        let (mut sent, mut answers) = (0u32, Vec::new());
        while started.elapsed() < duration {
            // Sends every request that is due by now, with its due time.
            let due = (started.elapsed().as_secs_f64() * per_second) as u32;
            while sent < due {
                let at = started + Duration::from_secs_f64(f64::from(sent) / per_second);
                let connection = connections[sent as usize % CONNECTIONS].clone();
                under_way.spawn(ask(connection, server.address.to_string().into(), body.clone(), at));
                sent += 1;
            }
            while let Some(answer) = under_way.try_join_next() {
                answers.push(answer.unwrap());
            }
            // Not a timer, because timers have a resolution of a millisecond.
            tokio::task::yield_now().await;
        }
        let rest = tokio::time::timeout(Duration::from_secs(10), under_way.join_all()).await;
        answers.extend(rest.unwrap_or_default());
        let mut outcome = Outcome { sent, shed: 0, failed: 0, why: None, latencies: Vec::new(), goodput: 0.0 };
        let (settled, mut served) = (started + SETTLING..started + duration, 0u32);
        for answer in answers {
            match answer {
                Answer::Token(due, latency) => {
                    outcome.latencies.push(latency);
                    if settled.contains(&(due + latency)) {
                        served += 1;
                    }
                }
                Answer::Shed => outcome.shed += 1,
                Answer::Failed(why) => {
                    outcome.failed += 1;
                    outcome.why.get_or_insert(why);
                }
            }
        }
        outcome.goodput = f64::from(served) / (duration - SETTLING).as_secs_f64();
        outcome.latencies.sort_unstable();
        outcome
    })
}

async fn connect(server: &Server) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut client = h2::client::Builder::new();
    // Responses are small, and in overload the client reads them late, which h2 takes for an attack.
    client.data_frame_budget(usize::MAX / 2).initial_connection_window_size(1 << 24);
    let (requests, connection) = client.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    requests
}

/// A gRPC message: the compression flag, the length, the bytes.
fn framed() -> Bytes {
    let message = load::message(CLIENT_ID).encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &message].concat().into()
}

async fn ask(mut connection: SendRequest<Bytes>, authority: Arc<str>, body: Bytes, due: Instant) -> Answer {
    match exchange(&mut connection, &authority, body).await {
        Ok(tonic::Code::Ok) => Answer::Token(due, due.elapsed()),
        Ok(tonic::Code::ResourceExhausted) => Answer::Shed,
        Ok(code) => Answer::Failed(format!("{code:?}")),
        Err(error) => Answer::Failed(error.to_string()),
    }
}

async fn exchange(connection: &mut SendRequest<Bytes>, authority: &str, body: Bytes) -> Result<tonic::Code, h2::Error> {
    let request = Request::post(format!("http://{authority}/m2m.token.v1.TokenService/IssueToken"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    std::future::poll_fn(|cx| connection.poll_ready(cx)).await?;
    let (response, mut stream) = connection.send_request(request.body(()).unwrap(), false)?;
    stream.send_data(body, true)?;
    let (head, mut body) = response.await?.into_parts();
    let mut code = head.headers.get("grpc-status").cloned();
    while let Some(data) = body.data().await {
        let length = data?.len();
        let _ = body.flow_control().release_capacity(length);
    }
    if let Some(trailers) = body.trailers().await? {
        code = trailers.get("grpc-status").cloned().or(code);
    }
    Ok(code.map_or(tonic::Code::Unknown, |code| tonic::Code::from_bytes(code.as_bytes())))
}
