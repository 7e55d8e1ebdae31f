//! The metrics of the signing keys. Updated when keys change or are checked, never when they sign.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{counter, gauge};
use token_interceptor::signature::{Algorithm, SigningKey};

use crate::{
    key::{KeyState, PublishedKey, Schedule, SealingKeys},
    store::StoredKey,
};

const STATES: [(KeyState, &str); 4] = [
    (KeyState::Pending, "pending"),
    (KeyState::Active, "active"),
    (KeyState::Retiring, "retiring"),
    (KeyState::Distrusted, "distrusted"),
];

/// Records the stored keys and the published keys.
pub(super) fn tell(schedule: &Schedule, sealing: &SealingKeys, stored: &[StoredKey], published: &[PublishedKey]) {
    for algorithm in Algorithm::ISSUED {
        let of_it = || published.iter().filter(move |key| key.algorithm == algorithm);
        for (state, name) in STATES {
            let number = of_it().filter(|key| key.state == state).count();
            gauge!("token_server_signing_keys", "algorithm" => algorithm.name(), "state" => name).set(number as f64);
        }
        if let Some(active) = of_it().find(|key| key.state == KeyState::Active) {
            gauge!("token_server_signing_key_active_since_timestamp_seconds", "algorithm" => algorithm.name())
                .set(timestamp(active.sign_after));
            if let Some(due) = due(schedule, active) {
                gauge!("token_server_signing_key_due_timestamp_seconds", "algorithm" => algorithm.name())
                    .set(timestamp(due));
            }
        }
    }
    let (mut current, mut previous, mut unknown) = (0, 0, 0);
    for key in stored {
        match key.sealed.sealing_key_id.as_str() {
            id if id == sealing.current_id() => current += 1,
            id if sealing.has(id) => previous += 1,
            _ => unknown += 1,
        }
    }
    for (name, number) in [("current", current), ("previous", previous), ("unknown", unknown)] {
        gauge!("token_server_sealed_signing_keys", "sealing_key" => name).set(f64::from(number));
    }
}

/// Records the difference between this machine's clock and the store's.
pub(super) fn clocks(difference: Duration) {
    gauge!("token_server_store_clock_difference_seconds").set(difference.as_secs_f64());
}

/// Counts a refresh: reading, unsealing and updating the stored keys.
pub(super) fn refreshed(outcome: &'static str) {
    counter!("token_server_signing_key_refreshes_total", "outcome" => outcome).increment(1);
}

/// The time at which the next key is to sign. An imported key signs until the operator imports the next.
fn due(schedule: &Schedule, active: &PublishedKey) -> Option<SystemTime> {
    SigningKey::generates(active.algorithm).then(|| active.sign_after + schedule.period)
}

fn timestamp(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
