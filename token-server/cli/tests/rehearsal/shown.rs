//! Reads a replica's metrics from `/metrics`.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::world::DEADLINE;

/// Returns the value of a series, named as in the output; `None` if the series or the replica is absent.
pub(crate) async fn value(port: u16, series: &str) -> Option<f64> {
    let shown = timeout(Duration::from_secs(5), read(port)).await.ok()?.ok()?;
    let line = shown.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok())
}

/// Waits until `holds` accepts the value of the series. Returns the value.
pub(crate) async fn until(port: u16, series: &str, holds: impl Fn(f64) -> bool) -> f64 {
    let begun = Instant::now();
    loop {
        let value = value(port, series).await;
        if let Some(value) = value
            && holds(value)
        {
            return value;
        }
        assert!(begun.elapsed() < DEADLINE, "{series} is {value:?} and stays so");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn read(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut shown = String::new();
    stream.read_to_string(&mut shown).await?;
    Ok(shown)
}
