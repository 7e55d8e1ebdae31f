//! Servers under measurement: processes of their own, whose CPU time and memory Linux counts.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    time::Duration,
};

/// The time limit for a server to print its address.
const START_MAX: Duration = Duration::from_secs(60);

/// A running server. When the last one of a process is dropped, the process is stopped.
pub(crate) struct Server {
    process: Arc<Process>,
    pub(crate) address: SocketAddr,
}

struct Process(Child);

impl Server {
    /// Starts `command` and waits for the line that says where it listens: `…address=HOST:PORT…`.
    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let (found, address) = mpsc::channel();
        watch(child.stdout.take().unwrap(), found.clone());
        watch(child.stderr.take().unwrap(), found);
        match address.recv_timeout(START_MAX) {
            Ok(address) => Ok(Self { process: Arc::new(Process(child)), address }),
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("{} did not say where it listens", command.get_program().display()))
            }
        }
    }

    /// Returns a server at a given address, once it answers there.
    pub(crate) fn start_at(command: &mut Command, address: SocketAddr) -> Result<Self, String> {
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = spawned.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let server = Self { process: Arc::new(Process(child)), address };
        let started = std::time::Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            if started.elapsed() > START_MAX {
                return Err(format!("{} does not listen", command.get_program().display()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Returns the same process at another of its addresses.
    #[allow(dead_code, reason = "for benches that measure more than one server")]
    pub(crate) fn beside(&self, address: SocketAddr) -> Self {
        Self { process: Arc::clone(&self.process), address }
    }

    /// CPU time of every thread that it has, user and system.
    pub(crate) fn cpu(&self) -> Duration {
        self.threads("").map(|thread| on_cpu(&thread)).sum()
    }

    /// CPU time of each thread of that name, in the order in which they began.
    #[allow(dead_code, reason = "for benches that measure more than one thread")]
    pub(crate) fn cpu_of_threads(&self, name: &str) -> Vec<Duration> {
        let mut threads: Vec<_> = self.threads(name).collect();
        threads.sort();
        threads.iter().map(|thread| on_cpu(thread)).collect()
    }

    /// The folders of its threads whose names have this prefix.
    fn threads(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process.0.id())).unwrap().flatten();
        let named =
            move |thread: &PathBuf| fs::read_to_string(thread.join("comm")).is_ok_and(|of| of.starts_with(name));
        threads.map(|thread| thread.path()).filter(named)
    }

    /// Resident memory in MiB.
    pub(crate) fn resident_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads to the end, so that the server never waits for us; sends the first address.
fn watch(output: impl Read + Send + 'static, found: mpsc::Sender<SocketAddr>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
            if let Some(address) = address.and_then(|address| address.parse().ok()) {
                let _ = found.send(address);
            }
        }
    });
}

/// CPU time of this thread.
pub(crate) fn own_cpu() -> Duration {
    on_cpu(Path::new("/proc/thread-self"))
}

/// CPU time of a thread, by its folder; nothing once it has ended.
fn on_cpu(thread: &Path) -> Duration {
    let text = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}
