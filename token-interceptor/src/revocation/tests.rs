use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    test_util::{FakeClock, TestIssuer},
    token::{ANCESTORS_CLAIM, UnverifiedToken},
};

const HOUR: Duration = Duration::from_secs(3600);

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn sets() -> RevocationSets {
    RevocationSets { own: Revocations::new(), pushed: Some(Revocations::new()) }
}

fn token(ancestors: &serde_json::Value) -> VerifiedToken {
    let issuer = TestIssuer::new("https://issuer.example");
    let token = issuer.token().audience("inventory").claim("jti", "t1").claim(ANCESTORS_CLAIM, ancestors.clone());
    let verifier = issuer.verifier();
    verifier.verify(UnverifiedToken::new(&token.sign()), "inventory", verifier.now()).unwrap()
}

/// Entries that are written or moved when so many are added one by one.
fn steps_to_add(entries: usize) -> usize {
    let set = Revocations::new();
    let mut steps = 0;
    for number in 0..entries {
        let revoked = Revoked::token(&number.to_string(), at(60));
        let shard = set.shard(&revoked.target).unwrap();
        let capacity = read(shard).0.capacity();
        assert_eq!(set.add(revoked), Addition::New);
        let shard = read(shard);
        steps += if shard.0.capacity() == capacity { 1 } else { shard.0.len() };
    }
    assert_eq!(set.len(), entries);
    steps
}

#[test]
fn an_addition_costs_the_same_at_any_number_of_entries() {
    for entries in [1_000, 100_000] {
        let steps = steps_to_add(entries);
        assert!(steps <= 4 * entries, "{steps} steps for {entries} entries");
    }
}

#[test]
fn entries_of_a_verifiers_set_expire_without_a_call_to_forget() {
    let (set, clock) = (Revocations::new(), Arc::new(FakeClock::default()));
    set.expire_by(&(Arc::clone(&clock) as Arc<dyn Clock>));
    for number in 0..1000 {
        set.revoke_token(number.to_string(), clock.now() + HOUR);
    }
    assert_eq!(set.len(), 1000);
    clock.advance(2 * HOUR);
    set.revoke_token("one more", clock.now() + HOUR);
    assert_eq!(set.len(), 1);
    clock.advance(2 * HOUR);
    let sets = RevocationSets { own: set.clone(), pushed: None };
    assert!(!sets.revokes(&token(&json!([]))));
    assert!(set.is_empty());
}

#[test]
fn the_later_times_of_two_entries_hold() {
    let set = Revocations::new();
    set.revoke_client("orders", at(20), at(100));
    let version = set.version();
    set.revoke_client("orders", at(10), at(90));
    assert_eq!(set.version(), version, "nothing has changed");
    let longer = Revoked::client("orders", at(10), at(200));
    let after = Revoked::client("orders", at(20), at(200));
    assert_eq!(set.add(longer), Addition::Extended { before: Revoked::client("orders", at(20), at(100)), after });
    assert!(set.revokes(&after.target, 19) && !set.revokes(&after.target, 20));
    assert_eq!(set.len(), 1);
}

#[test]
fn a_token_and_a_client_of_one_name_are_two_targets() {
    let sets = sets();
    sets.own.revoke_client("t1", at(u64::MAX / 4), at(100));
    assert!(!sets.revokes(&token(&json!([]))));
    sets.own.revoke_token("t1", at(100));
    assert!(sets.revokes(&token(&json!([]))));
}

#[test]
fn own_and_pushed_entries_count_and_neither_replaces_the_other() {
    let sets = sets();
    let version = sets.version();
    sets.pushed.as_ref().unwrap().revoke_token("t1", at(100));
    assert!(sets.revokes(&token(&json!([]))) && sets.own.is_empty());
    assert_ne!(sets.version(), version);
}

#[test]
fn a_token_is_revoked_with_one_that_it_was_derived_from() {
    let derived = token(&json!([["parent", "orders", 50], ["root", "billing", 40]]));
    type Revoke = fn(&Revocations);
    let revocations: [(Revoke, bool); 6] = [
        (|set| set.revoke_token("root", at(100)), true),
        (|set| set.revoke_token("parent", at(100)), true),
        (|set| set.revoke_client("billing", at(41), at(100)), true),
        (|set| set.revoke_client("billing", at(40), at(100)), false),
        (|set| set.revoke_client("root", at(99), at(100)), false),
        (|set| set.revoke_token("billing", at(100)), false),
    ];
    for (number, (revoke, revoked)) in revocations.into_iter().enumerate() {
        let sets = sets();
        revoke(&sets.own);
        assert_eq!(sets.revokes(&derived), revoked, "{number}");
    }
}

#[test]
fn ancestors_of_another_shape_are_passed_over() {
    for other in [json!("text"), json!({"a": 1}), json!([1, ["x"], ["a", "b", "c"], ["a", "b", -1], null])] {
        assert_eq!(token(&other).ancestors().count(), 0);
    }
}

#[test]
fn debug_shows_no_name() {
    let set = Revocations::new();
    set.revoke_token("the-token", at(100));
    assert!(!format!("{set:?}").contains("the-token"));
}
