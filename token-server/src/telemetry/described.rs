//! Descriptions of the metrics for readers of `/metrics`, and the metrics that exist from the start.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use token_interceptor::clock::{Clock as _, SystemClock};

/// Audit lines that could not be written.
pub(super) const AUDIT_LINES_LOST: &str = "token_server_audit_lines_lost_total";
/// Log lines that could not be written.
pub(super) const LOG_LINES_LOST: &str = "token_server_log_lines_lost_total";
/// 1 while audit lines can be written, otherwise 0.
pub(crate) const AUDIT_WRITABLE: &str = "token_server_audit_writable";

/// Describes every metric, and starts those that must not be missing.
pub(super) fn describe() {
    describe_process();
    describe_requests();
    describe_keys();
    describe_store();
    describe_tls();
    begin();
}

fn describe_process() {
    describe_gauge!("token_server_build_info", "1, with the version as its label.");
    describe_gauge!("token_server_start_time_seconds", Unit::Seconds, "Start time of the process, since 1970.");
    describe_gauge!("token_server_ready", "1 while the server is ready for requests, as on /readyz; otherwise 0.");
    describe_counter!(AUDIT_LINES_LOST, "Audit lines that could not be written.");
    describe_counter!(LOG_LINES_LOST, "Log lines that could not be written.");
    describe_gauge!(AUDIT_WRITABLE, "1 while audit lines can be written, 0 while their destination accepts nothing.");
    describe_counter!("token_server_spans_lost_total", "Spans that the collector did not accept.");
}

fn describe_requests() {
    describe_gauge!("token_server_connections", Unit::Count, "Open connections.");
    describe_counter!("token_server_connections_refused_total", "Connections closed because the peer had too many.");
    describe_counter!("token_server_token_requests_total", "Token requests by outcome and reason.");
    describe_histogram!(
        "token_server_request_duration_seconds",
        Unit::Seconds,
        "Time from a request's head to the response's head."
    );
    describe_counter!(
        "token_server_requests_shed_total",
        "Requests shed because too many were in flight or they were too slow, by cause."
    );
    describe_counter!("token_server_trust_streams_stalled_total", "Trust streams ended because they were not read.");
    describe_counter!("token_server_quota_exceeded_total", "Tokens over a client's quota, by outcome.");
}

fn describe_keys() {
    describe_gauge!("token_server_signing_keys", Unit::Count, "Signing keys by algorithm and state.");
    describe_gauge!(
        "token_server_signing_key_active_since_timestamp_seconds",
        Unit::Seconds,
        "Time at which the active key of each algorithm began to sign, since 1970."
    );
    describe_gauge!(
        "token_server_signing_key_due_timestamp_seconds",
        Unit::Seconds,
        "Time at which the next key of each algorithm is due to sign, since 1970."
    );
    describe_counter!(
        "token_server_signing_key_refreshes_total",
        "Reads of the stored signing keys, by outcome. While they fail, the loaded keys stay in use."
    );
    describe_gauge!(
        "token_server_sealed_signing_keys",
        Unit::Count,
        "Stored signing keys by their sealing key. With an unknown one, a restart fails."
    );
    describe_gauge!(
        "token_server_client_secrets",
        Unit::Count,
        "Live client secrets by their pepper. Secrets under an unknown one are rejected."
    );
}

fn describe_store() {
    describe_gauge!("token_server_store_reachable", "1 while the store is reachable, otherwise 0.");
    describe_counter!(
        "token_server_store_differences_total",
        "Cached entries that differed from the store in a comparison, by kind. They were reloaded."
    );
    describe_gauge!(
        "token_server_store_clock_difference_seconds",
        Unit::Seconds,
        "Difference between this machine's clock and the database's."
    );
    describe_gauge!(
        "token_server_change_feed_sequence",
        "Sequence number of the last change that this process has applied."
    );
    describe_counter!("token_server_change_feed_changes_total", "Changes that were applied, by kind.");
    describe_counter!(
        "token_server_change_feed_resyncs_total",
        "Reloads of all cached data, by reason: an outage, a lost connection, a restore or failover, an unknown kind \
         of change, an interval."
    );
    describe_counter!("token_server_change_feed_failures_total", "Failed reads of the change log.");
    describe_gauge!(
        "token_server_change_feed_stale",
        "1 while the store has been unreachable for longer than cached data may be trusted."
    );
    describe_gauge!(
        "token_server_change_feed_listening",
        "1 while PostgreSQL notifies of changes; otherwise the change log is polled twice a second."
    );
    describe_counter!(
        "token_server_change_feed_connections_lost_total",
        "Lost connections for notifications of changes."
    );
    describe_gauge!("token_server_clients_file_usable", "1 while the file that declares the clients can be used.");
    describe_counter!("token_server_clients_file_reloads_total", "Reloads of that file after a change, by outcome.");
}

fn describe_tls() {
    describe_counter!("token_server_tls_handshakes_failed_total", "TLS handshakes that failed or took too long.");
    describe_gauge!(
        "token_server_tls_certificate_not_after_timestamp_seconds",
        Unit::Seconds,
        "Time at which the first certificate of the chain in use expires, since 1970, by port."
    );
    describe_gauge!(
        "token_server_tls_client_ca_not_after_timestamp_seconds",
        Unit::Seconds,
        "Time at which the first of the client CAs in use expires, since 1970, by port."
    );
    describe_gauge!("token_server_tls_client_ca_certificates", Unit::Count, "Client CAs in use, by port.");
    describe_gauge!("token_server_tls_files_usable", "1 while the TLS files on disk can be used, by port.");
    describe_counter!(
        "token_server_tls_reloads_total",
        "Reloads of the TLS files after a change, by port, file and outcome."
    );
}

/// Counters start at 0, so that the first event is an increase. Gauges that not every server has start at a
/// healthy value.
fn begin() {
    gauge!("token_server_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let now = SystemClock.now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    gauge!("token_server_start_time_seconds").set(now.as_secs_f64());
    gauge!("token_server_ready").set(0.0);
    gauge!(AUDIT_WRITABLE).set(1.0);
    gauge!("token_server_connections").set(0.0);
    for name in [
        AUDIT_LINES_LOST,
        LOG_LINES_LOST,
        "token_server_tls_handshakes_failed_total",
        "token_server_spans_lost_total",
        "token_server_connections_refused_total",
        "token_server_trust_streams_stalled_total",
        "token_server_change_feed_failures_total",
        "token_server_change_feed_connections_lost_total",
    ] {
        counter!(name).absolute(0);
    }
    for kind in ["client", "keys", "revocation"] {
        counter!("token_server_change_feed_changes_total", "kind" => kind).absolute(0);
        counter!("token_server_store_differences_total", "kind" => kind).absolute(0);
    }
    gauge!("token_server_store_clock_difference_seconds").set(0.0);
    for reason in ["outage", "connection_lost", "restored", "unknown_kind", "interval"] {
        counter!("token_server_change_feed_resyncs_total", "reason" => reason).absolute(0);
    }
    for outcome in ["done", "failed"] {
        counter!("token_server_signing_key_refreshes_total", "outcome" => outcome).absolute(0);
    }
    gauge!("token_server_change_feed_listening").set(1.0);
    gauge!("token_server_clients_file_usable").set(1.0);
    for outcome in ["changed", "unusable"] {
        counter!("token_server_clients_file_reloads_total", "outcome" => outcome).absolute(0);
    }
}
