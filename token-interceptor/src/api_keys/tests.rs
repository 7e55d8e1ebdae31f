#![allow(clippy::unwrap_used, reason = "a test")]

use std::{cell::Cell, fs, time::Instant};

use super::*;
use crate::{clock::Clock as _, error::Denial, test_util::FakeClock};

thread_local! {
    /// The comparisons of hashes on this thread: the steps of a lookup.
    pub(super) static COMPARISONS: Cell<u64> = const { Cell::new(0) };
}

const DAY: Duration = Duration::from_secs(24 * 3600);

fn start() -> SystemTime {
    FakeClock::default().now()
}

fn key(text: &str) -> ApiKey {
    ApiKey::new(KeyHash::of(text), "billing", start() + DAY).audiences(["inventory"]).scopes(["read"])
}

async fn ask(keys: &ApiKeys, key: &str, now: SystemTime) -> Result<Identity, Denied> {
    keys.authenticate(UnverifiedToken::new(key), &Asked::new("inventory", now)).await
}

async fn outcome(keys: &ApiKeys, key: &str, now: SystemTime) -> &'static str {
    ask(keys, key, now).await.map_or_else(|denied| denied.label(), |_| "ok")
}

#[test]
fn a_hash_is_64_hexadecimal_digits() {
    let hash = KeyHash::of("foo");
    let hex = hash.to_string();
    assert_eq!(hex, "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae");
    assert!(KeyHash::from_hex(&hex).unwrap() == hash && KeyHash::from_hex(&hex.to_uppercase()).unwrap() == hash);
    let signed = format!("+{}", hex.split_at(1).1);
    for bad in ["", "2c26", &hex.replace('2', "g"), &format!("{hex}00"), &hex.replace("2c", "é"), &signed] {
        assert!(KeyHash::from_hex(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_key_that_cannot_be_registered_is_named_by_its_place() {
    let hash = KeyHash::of("k");
    let sunset = start() + DAY;
    for (bad, fault) in [
        (ApiKey::new(hash, "", sunset).audiences(["a"]), "client_id"),
        (ApiKey::new(hash, "c", sunset), "audience"),
        (ApiKey::new(hash, "c", sunset).audiences([""]), "audience"),
        (ApiKey::new(hash, "c", sunset).audiences(["a"]).scopes(["a b"]), "scopes"),
        (ApiKey::new(hash, "c", sunset).audiences(["a"]).scopes([""]), "scopes"),
        (ApiKey::new(hash, "c", start() - DAY).audiences(["a"]), "sunset"),
        (ApiKey::new(hash, "c", start() + DAY * 366 * 9000).audiences(["a"]), "out of range"),
        (key("first"), "twice"),
    ] {
        let error = ApiKeys::new(start(), [key("first"), bad]).unwrap_err().to_string();
        assert!(error.starts_with("API key 1: ") && error.contains(fault), "{error}");
    }
    assert!(ApiKeys::new(SystemTime::UNIX_EPOCH - DAY, [key("k")]).is_err());
    let many = (0..10_001).map(|n| key(&n.to_string()));
    assert!(ApiKeys::new(start(), many).unwrap_err().to_string().contains("more than 10000"));
}

#[tokio::test]
async fn a_key_is_accepted_until_the_second_of_its_sunset() {
    let keys = ApiKeys::new(start(), [key("k1")]).unwrap();
    let sunset = start() + DAY;
    let before = sunset - Duration::from_secs(1);
    for (key, now, expected) in [
        ("k1", start(), "ok"),
        ("k1", before, "ok"),
        ("k1", sunset, "api_key_sunset"),
        ("k1", sunset + DAY, "api_key_sunset"),
        ("k2", start(), "api_key"),
        ("K1", start(), "api_key"),
        ("", start(), "api_key"),
    ] {
        assert_eq!(outcome(&keys, key, now).await, expected, "{key}");
    }
}

#[tokio::test]
async fn answers_warn_as_rfc_8594_and_rfc_9745_say() {
    let keys = ApiKeys::new(start(), [key("k1")]).unwrap();
    let notices = ask(&keys, "k1", start()).await.unwrap().take_notices();
    assert_eq!(notices.get("sunset").unwrap(), "Fri, 02 Jan 2026 00:00:00 GMT");
    assert_eq!(notices.get("deprecation").unwrap(), "@1767225600");
}

#[tokio::test]
async fn a_lookup_costs_the_same_at_any_number_of_keys() {
    let mut steps = Vec::new();
    for count in [100, 10_000] {
        let keys = ApiKeys::new(start(), (0..count).map(|n| key(&format!("key-{n}")))).unwrap();
        COMPARISONS.with(|comparisons| comparisons.set(0));
        for n in 0..50 {
            assert_eq!(outcome(&keys, &format!("key-{n}"), start()).await, "ok");
            assert_eq!(outcome(&keys, &format!("made-up-{n}"), start()).await, "api_key");
        }
        steps.push(COMPARISONS.with(Cell::get));
    }
    // One for each registered key, and for some lookups one more, where seven bits of the map's index agree.
    assert!(steps.iter().all(|steps| (50..150).contains(steps)), "{steps:?}");
}

/// A file of one key, or of none.
fn content(key: Option<&str>, scope: &str) -> String {
    let entry = key.map(|key| {
        format!(
            r#"{{"sha256":"{}","client_id":"billing","audiences":["inventory"],"scopes":["{scope}"],"sunset":"2026-07-01"}}"#,
            KeyHash::of(key)
        )
    });
    format!(r#"{{"deprecated":"2026-01-01T00:00:00Z","keys":[{}]}}"#, entry.unwrap_or_default())
}

#[tokio::test]
async fn a_changed_file_counts_at_the_first_call_after_5_s() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    fs::write(&path, content(Some("k1"), "read")).unwrap();
    let keys = ApiKeys::from_file(&path).unwrap();
    let mut now = start();
    assert_eq!(outcome(&keys, "k1", now).await, "ok");
    for (change, waited, k1, k2) in [
        (Some(content(Some("k2"), "read")), 4, "ok", "api_key"),
        (None, 1, "api_key", "ok"),
        // Broken, too large, gone: the last keys stay.
        (Some("{".to_owned()), 5, "api_key", "ok"),
        (Some(content(Some("k1"), "read").replace("keys", "key")), 5, "api_key", "ok"),
        (Some(" ".repeat(5_000_000)), 5, "api_key", "ok"),
        (Some(content(None, "")), 5, "api_key", "api_key"),
        (Some(content(Some("k1"), "read")), 3600, "ok", "api_key"),
    ] {
        if let Some(change) = change {
            fs::write(&path, change).unwrap();
        }
        now += Duration::from_secs(waited);
        assert_eq!((outcome(&keys, "k1", now).await, outcome(&keys, "k2", now).await), (k1, k2), "{waited}");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(outcome(&keys, "k1", now + DAY).await, "ok");
    // After the clock was set back, the file is still read.
    fs::write(&path, content(None, "")).unwrap();
    assert_eq!(outcome(&keys, "k1", start()).await, "api_key");
}

#[test]
fn a_file_with_a_fault_is_rejected_and_not_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let good = content(Some("k1"), "read");
    for bad in [
        "",
        "[]",
        &good.replace("\"deprecated\":\"2026-01-01T00:00:00Z\",", ""),
        &good.replace("2026-01-01T00:00:00Z", "soon-secret"),
        &good.replace("2026-07-01", "2026-02-30"),
        &good.replace("[\"read\"]", "\"secret\""),
        &good.replace("client_id", "secret_id").replace("billing", "secret"),
        &good.replace(&KeyHash::of("k1").to_string(), "secret"),
        &good.replace("\"audiences\":[\"inventory\"],", ""),
    ] {
        fs::write(&path, bad).unwrap();
        let error = ApiKeys::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("keys.json") && !error.contains("secret"), "{error}");
    }
    assert!(ApiKeys::from_file(folder.path().join("absent")).is_err());
}

#[tokio::test]
async fn an_open_call_ends_once_its_key_is_gone_or_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    for (change, expected) in [
        (content(Some("k1"), "read"), None),
        (content(Some("k1"), "read").replace("2026-07-01", "2026-08-01"), None),
        (content(Some("k1"), "read").replace("2026-07-01", "2026-01-01"), Some("api_key_sunset")),
        (content(Some("k1"), "write"), Some("api_key")),
        (content(Some("k2"), "read"), Some("api_key")),
    ] {
        fs::write(&path, content(Some("k1"), "read")).unwrap();
        let keys = ApiKeys::from_file(&path).unwrap();
        let verifier = crate::test_util::TestIssuer::new("https://issuer.example").verifier();
        let asked = Asked::new("inventory", start());
        let identity = ask(&keys, "k1", start()).await.unwrap();
        let call = crate::scheme::judge(identity, "api_key", &verifier, &asked).unwrap();
        fs::write(&path, change).unwrap();
        assert_eq!(call.check_again(start()), Ok(()));
        let (later, began) = (start() + Duration::from_secs(5), Instant::now());
        // The read runs on another thread; the next looks see its result.
        while call.check_again(later).is_ok() && keys.registered.file.as_ref().unwrap().is_due(later) {
            tokio::task::yield_now().await;
            assert!(began.elapsed() < Duration::from_secs(60));
        }
        keys.registered.refresh(later).await;
        assert_eq!(call.check_again(later).err().map(|denied| denied.label()), expected);
    }
}

#[test]
fn keys_and_hashes_are_not_printed() {
    let keys = ApiKeys::new(start(), [key("k1-secret")]).unwrap();
    let hash = KeyHash::of("k1-secret").to_string();
    for printed in [format!("{keys:?}"), format!("{:?}", key("k1-secret"))] {
        assert!(printed.contains("billing") && !printed.contains("secret") && !printed.contains(&hash), "{printed}");
    }
}

#[tokio::test]
async fn the_reason_says_if_the_sunset_has_passed() {
    let keys = ApiKeys::new(start(), [key("k1")]).unwrap();
    let denied = ask(&keys, "k1", start() + DAY).await.unwrap_err();
    assert!(matches!(denied.0, Denial::Credential { expired: true, .. }));
    assert_eq!(denied.reason(), token_proto::token::v1::ErrorReason::TokenExpired);
    assert!(denied.to_string().contains("sunset"));
}
