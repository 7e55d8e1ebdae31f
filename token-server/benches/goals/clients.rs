//! The same request with ten, ten thousand and a million registered clients.

use std::time::Duration;

use crate::{
    issuer::Site,
    load::{self, Face},
    report::Row,
};

const ROUNDS: usize = 4;
const DURATION: Duration = Duration::from_millis(1000);
const MILLION: usize = 1_000_000;
/// The number of clients that send requests, if not all do: the default size of the issuer's cache.
const ACTIVE: usize = 10_000;

pub(crate) fn measure() -> Vec<Row> {
    // A tenth more room than active clients: a cache that is just full evicts some of them.
    let room = "cached_clients = 11000";
    let few = Site::new(10, "threads = 1", room);
    let many = Site::new(ACTIVE, "threads = 1", room);
    let million = Site::new(MILLION, "threads = 1", room);
    let (few, many) = (few.start(), many.start());
    let (million_active, million_missed) = (million.start(), million.start());
    for server in [&many, &million_active] {
        load::run(&Face::GrpcIssueForEach(ACTIVE), server, Duration::MAX);
    }
    let measured = load::rounds(
        &[
            (Face::GrpcIssueFor(10), &few),
            (Face::GrpcIssueFor(ACTIVE), &many),
            (Face::GrpcIssueFor(ACTIVE), &million_active),
            (Face::GrpcIssueFor(MILLION), &million_missed),
        ],
        ROUNDS,
        DURATION,
    );
    let &[ten, ten_thousand, of_million, missed] = measured.as_slice() else { unreachable!("four cases") };
    let more = |m: load::Measurement| (m.cpu_micros / ten.cpu_micros - 1.0) * 100.0;
    let figure = |m: load::Measurement, memory: f64| {
        format!("{:.1} µs, {:+.0} %; {memory:.0} MiB resident", m.cpu_micros, more(m))
    };
    let memory_max = many.resident_mib() + 16.0;
    vec![
        Row::floor(
            "a token for one of 10 clients",
            format!("{:.1} µs; {:.0} MiB resident", ten.cpu_micros, few.resident_mib()),
        ),
        Row::goal(
            "… of 10,000, all of them active",
            "+10 % at most",
            figure(ten_thousand, many.resident_mib()),
            more(ten_thousand) <= 10.0,
        ),
        Row::goal(
            "… of 1,000,000, of which 10,000 are active",
            "+10 % at most; memory bounded by the cache",
            figure(of_million, million_active.resident_mib()),
            more(of_million) <= 10.0 && million_active.resident_mib() <= memory_max,
        ),
        Row::goal(
            "… of 1,000,000, all active: nearly every one is read from SQLite",
            "memory bounded by the cache",
            figure(missed, million_missed.resident_mib()),
            million_missed.resident_mib() <= memory_max + 16.0,
        ),
    ]
}
