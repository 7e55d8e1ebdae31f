//! The time from the start of the program to its first token, and its memory when idle.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::{issuer::Site, load, report::Row};

const STARTS: usize = 9;
const IDLE: Duration = Duration::from_secs(3);

pub(crate) fn measure() -> Vec<Row> {
    // The default configuration, except the port, which must be known beforehand.
    let site = Site::new(10_000, "", "");
    // The first start generates the signing key.
    drop(site.start());
    let mut starts: Vec<_> = (0..STARTS).map(|_| first_token(&site)).collect();
    starts.sort_unstable();
    let median = starts.get(STARTS / 2).copied().unwrap_or_default().as_secs_f64() * 1e3;
    let slowest = starts.last().copied().unwrap_or_default().as_secs_f64() * 1e3;
    let server = site.start();
    ask(server.address).unwrap();
    std::thread::sleep(IDLE);
    let (memory, cpu) = (server.resident_mib(), server.cpu());
    std::thread::sleep(IDLE);
    let idle = (server.cpu() - cpu).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    vec![
        Row::goal(
            "start of the program to its first token, existing store of 10,000 clients",
            "≤ 150 ms",
            format!("{median:.0} ms, slowest of {STARTS} {slowest:.0} ms"),
            median <= 150.0,
        ),
        Row::goal(
            "resident memory, idle after a token",
            "≤ 30 MiB",
            format!("{memory:.1} MiB; {idle:.2} % of a core"),
            memory <= 30.0,
        ),
    ]
}

/// A program that is killed when dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn first_token(site: &Site) -> Duration {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = site.command();
    command.env("TOKEN_SERVER__LISTEN__ADDRESS", address.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let _program = Started(command.spawn().unwrap());
    while ask(address).is_err() {
        assert!(started.elapsed() < Duration::from_secs(30), "no token");
        std::thread::sleep(Duration::from_micros(500));
    }
    started.elapsed()
}

fn ask(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(&load::token_request())?;
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer)?;
    let text = String::from_utf8_lossy(&answer[..length]);
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    Ok(())
}
