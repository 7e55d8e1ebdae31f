//! The spread of long-lived connections over cores: as the issuer assigns them, and as the kernel does with a
//! socket for each core (SO_REUSEPORT). Also the saving of a runtime for each core.

use std::time::Duration;

use token_proto::token::v1::token_service_client::TokenServiceClient;
use tonic::transport::Endpoint;

use crate::{
    floor,
    issuer::{CLIENT_ID, Site},
    load::{self, Face, median},
    process::Server,
    report::Row,
};

/// Few and long, as connections of services are.
const CONNECTIONS: u32 = 20;
const WORKERS: u32 = 8;
/// The number of consecutive requests on each connection.
const REQUESTS: u32 = 100;
const ROUNDS: usize = 25;
/// Longer than a server needs to notice that a round's connections are closed.
const APART: Duration = Duration::from_millis(50);
/// No worker has more connections than it must: 3 if the share is 2.5. Half a connection is added, because
/// CPU time measures it.
const FAIR: f64 = (CONNECTIONS.div_ceil(WORKERS) as f64 + 0.5) * WORKERS as f64 / CONNECTIONS as f64;

pub(crate) fn measure() -> Vec<Row> {
    let by_kernel = floor::start(&["shared port", &WORKERS.to_string()]);
    let by_kernel = Spread::of(&by_kernel);
    let site = Site::new(0, &format!("threads = {WORKERS}"), "");
    let by_issuer = Spread::of(&site.start());
    let (each, shared) = (floor::start(&["shared port", "2"]), floor::start(&["shared runtime", "2"]));
    let echoes = [(Face::GrpcIssue, &each), (Face::GrpcIssue, &shared)];
    let measured = load::rounds(&echoes, 5, Duration::from_millis(700));
    let [each, shared] = measured.as_slice() else { unreachable!("two cases") };
    vec![
        Row::floor(
            "tonic echo on two threads: a runtime for each, and one for both",
            format!("{:.1} and {:.1} µs of CPU", each.cpu_micros, shared.cpu_micros),
        ),
        Row::floor(
            format!("floor: {CONNECTIONS} connections over {WORKERS} threads by SO_REUSEPORT, busiest ÷ its share"),
            by_kernel.to_string(),
        ),
        Row::goal(
            "… over the issuer's workers",
            "no worker has two more than another",
            by_issuer.to_string(),
            by_issuer.median <= FAIR,
        ),
    ]
}

/// The work of the busiest worker, as a multiple of its fair share.
struct Spread {
    median: f64,
    worst: f64,
    /// Rounds in which a worker had nothing to do.
    idle: usize,
}

impl Spread {
    fn of(server: &Server) -> Self {
        let (mut busiest, mut idle) = (Vec::new(), 0);
        for round in 0..=ROUNDS {
            let before = server.cpu_of_threads("worker-");
            asked(server);
            let after = server.cpu_of_threads("worker-");
            let spent: Vec<_> =
                after.iter().zip(before).map(|(after, before)| (*after - before).as_secs_f64()).collect();
            let share = spent.iter().sum::<f64>() / f64::from(WORKERS);
            if round > 0 {
                busiest.push(spent.iter().copied().fold(0.0, f64::max) / share);
                // Less than half of one connection.
                idle += usize::from(
                    spent.iter().any(|spent| *spent < share * f64::from(WORKERS) / f64::from(CONNECTIONS) / 2.0),
                );
            }
            std::thread::sleep(APART);
        }
        Self { median: median(busiest.iter().copied()), worst: busiest.iter().copied().fold(0.0, f64::max), idle }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { median, worst, idle } = self;
        write!(f, "{median:.2} by CPU time, worst {worst:.2}; a worker idle in {idle} of {ROUNDS} rounds")
    }
}

/// The same number of requests by each of the connections.
fn asked(server: &Server) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
        let mut callers = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut client = TokenServiceClient::new(endpoint.connect().await.unwrap());
            callers.push(tokio::spawn(async move {
                for _ in 0..REQUESTS {
                    load::issue(&mut client, load::message(CLIENT_ID)).await;
                }
            }));
        }
        for caller in callers {
            caller.await.unwrap();
        }
    });
}
