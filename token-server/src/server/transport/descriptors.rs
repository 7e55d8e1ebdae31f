//! File descriptors: limits connections so that the database, the files and the other ports keep theirs.

/// Descriptors for the database, files, listeners and key fetches.
const RESERVED: usize = 128;
/// Descriptors for each worker: its event queue.
const RESERVED_PER_WORKER: usize = 4;
/// The minimum of connections, so that a server with almost no descriptors still serves some clients.
const CONNECTIONS_MIN: usize = 16;

/// Returns the number of connections that each of `ports` may have: at most `configured`. `reserved`
/// descriptors are needed for other purposes.
pub(crate) fn connections_max(configured: usize, ports: usize, workers: usize, reserved: usize) -> usize {
    let Some(open_files_max) = open_files_max() else { return configured };
    let max = share(open_files_max, ports, RESERVED + RESERVED_PER_WORKER * workers + reserved);
    if max < configured {
        tracing::info!(
            open_files_max,
            connections_configured = configured,
            connections_max = max,
            "the open file limit is too low for the configured connections; accepting fewer (raise it: ulimit -n, LimitNOFILE)"
        );
    }
    configured.min(max)
}

fn share(open_files_max: usize, ports: usize, reserved: usize) -> usize {
    (open_files_max.saturating_sub(reserved) / ports.max(1)).max(CONNECTIONS_MIN)
}

/// Returns the soft limit of this process, or `None` if the system does not show it.
fn open_files_max() -> Option<usize> {
    parse(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

fn parse(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_soft_limit() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             127000               127000               processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(parse(limits), Some(1024));
        assert_eq!(parse(&limits.replace("1024 ", "unlimited ")), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        for (open_files_max, ports) in [(1024, 1), (1024, 2), (65_536, 2)] {
            let connections = share(open_files_max, ports, 200);
            assert!(connections * ports + 200 <= open_files_max, "{open_files_max} {ports}");
        }
        assert_eq!(share(64, 2, 200), CONNECTIONS_MIN);
    }
}
