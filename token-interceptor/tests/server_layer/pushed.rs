//! Pushed trust: keys before their first use, revocations within a second, and the effects of an outage.

use std::{
    future::Future,
    time::{Duration, SystemTime},
};

use token_interceptor::{
    clock::Clock as _,
    danger,
    layer::AuthorizationLayer,
    revocation::{Revocations, TargetHash},
    test_util::TestIssuer,
    verify::{BuildError, IssuerChannel, TrustedIssuer, Verifier},
};
use token_proto::{
    policy::Requirement,
    token::v1::{
        KeyState, Revocation, WatchTrustResponse, revocation::Target, trust_service_server::TrustServiceServer,
    },
};
use tokio::time::sleep;
use tonic::{Status, transport::Server};

use crate::{
    network::{call, reason, retry_after, simulation},
    recorder::Measured,
    simulated::{channel, connections},
    trust_service::{Trust, key},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct World {
    issuer: TestIssuer,
    trust: Trust,
    layer: AuthorizationLayer,
}

impl World {
    async fn call(&self, token: &str) -> Result<(), Status> {
        call(&self.layer, token).await
    }

    fn revoke(&self, target: Target, issued_before: SystemTime) {
        let forget_time = Some((issued_before + MINUTE * 60).into());
        let revocation =
            Revocation { target: Some(target), issued_before_time: Some(issued_before.into()), forget_time };
        self.trust.push(WatchTrustResponse { revocations: vec![revocation], ..Default::default() });
    }
}

fn token_hash(token_id: &str) -> Target {
    Target::TokenHash(TargetHash::of_token(token_id).as_bytes().to_vec())
}

/// A layer that trusts `issuer`, by its clock.
fn layer(trusted: TrustedIssuer, issuer: &TestIssuer) -> Result<AuthorizationLayer, BuildError> {
    let verifier = Verifier::builder().issuer(trusted).clock(issuer.clock()).build()?;
    Ok(AuthorizationLayer::requiring(verifier, "inventory", Requirement::any_token()))
}

fn serve(sim: &mut turmoil::Sim<'_>, trust: Trust) {
    sim.host("issuer", move || {
        let trust = TrustServiceServer::new(trust.clone());
        async move {
            Server::builder().add_service(trust).serve_with_incoming(connections().await?).await?;
            Ok(())
        }
    });
}

fn simulate<F>(duration: Duration, test: impl FnOnce(World) -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    simulate_with(duration, Revocations::new(), test);
}

/// With revocations of the program's own.
fn simulate_with<F>(duration: Duration, own: Revocations, test: impl FnOnce(World) -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let mut sim = simulation(duration);
    let issuer = TestIssuer::new("https://issuer.example");
    let trust = Trust::new(issuer.issuer(), vec![key(&issuer, KeyState::Active)]);
    serve(&mut sim, trust.clone());
    sim.client("service", async move {
        let trusted = TrustedIssuer::watch(
            issuer.issuer(),
            IssuerChannel::of_channel(channel("issuer"), danger::AllowPlaintext),
        )?
        .stale_after(10 * MINUTE);
        let trusted = trusted.revocations(own);
        let layer = layer(trusted, &issuer)?;
        test(World { issuer, trust, layer }).await;
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn the_first_call_waits_for_the_first_snapshot() {
    simulate(MINUTE, |world| async move {
        world.call(&world.issuer.token().sign()).await.unwrap();
    });
}

#[test]
fn a_rotated_key_is_held_before_its_first_use_and_a_distrusted_one_dropped_at_once() {
    simulate(MINUTE, |world| async move {
        let (old, rotated) = (world.issuer.token().sign(), world.issuer.rotated());
        world.call(&old).await.unwrap();
        assert_eq!(reason(world.call(&rotated.token().sign()).await), "TOKEN_KEY_UNKNOWN");
        world.trust.push(WatchTrustResponse { keys: vec![key(&rotated, KeyState::Pending)], ..Default::default() });
        sleep(SECOND / 10).await;
        world.call(&rotated.token().sign()).await.unwrap();
        let distrusted = vec![key(&world.issuer, KeyState::Distrusted)];
        world.trust.push(WatchTrustResponse { keys: distrusted, ..Default::default() });
        sleep(SECOND / 10).await;
        assert_eq!(reason(world.call(&old).await), "TOKEN_KEY_UNKNOWN");
        let removed_key_ids = vec![rotated.key_id()];
        world.trust.push(WatchTrustResponse { removed_key_ids, ..Default::default() });
        sleep(SECOND / 10).await;
        assert_eq!(reason(world.call(&rotated.token().sign()).await), "TOKEN_KEY_UNKNOWN");
    });
}

#[test]
fn a_revocation_is_enforced_within_a_second_also_for_tokens_seen_before() {
    simulate(MINUTE, |world| async move {
        let (one, other) = (world.issuer.token().claim("jti", "t1").sign(), world.issuer.token().sign());
        world.call(&one).await.unwrap();
        world.call(&other).await.unwrap();
        world.revoke(token_hash("t1"), world.issuer.clock().now());
        sleep(SECOND / 10).await;
        assert_eq!(reason(world.call(&one).await), "TOKEN_REVOKED");
        world.call(&other).await.unwrap();
        world.revoke(
            Target::ClientHash(TargetHash::of_client("orders").as_bytes().to_vec()),
            world.issuer.clock().now() + SECOND,
        );
        sleep(SECOND / 10).await;
        assert_eq!(reason(world.call(&other).await), "TOKEN_REVOKED");
        world.issuer.clock().advance(SECOND);
        world.call(&world.issuer.token().sign()).await.unwrap();
    });
}

#[test]
fn a_lost_stream_is_taken_up_where_it_ended() {
    simulate(5 * MINUTE, |world| async move {
        let good = world.issuer.token().claim("jti", "t1").sign();
        world.call(&good).await.unwrap();
        turmoil::partition("service", "issuer");
        world.revoke(token_hash("t1"), world.issuer.clock().now());
        sleep(MINUTE).await;
        world.call(&good).await.unwrap();
        retry_after(world.call(&world.issuer.token().header("kid", "unknown").sign()).await);
        turmoil::repair("service", "issuer");
        sleep(MINUTE).await;
        assert_eq!(reason(world.call(&good).await), "TOKEN_REVOKED");
        assert!(world.trust.resumed_from().contains(&"0".to_owned()), "{:?}", world.trust.resumed_from());
    });
}

#[test]
fn an_operator_sees_a_lost_stream_and_how_old_the_trust_is() {
    const LOST: &str = "token_trust_streams_lost_total issuer=https://issuer.example";
    const AGE: &str = "token_trust_age_seconds issuer=https://issuer.example";
    let measured = Measured::default();
    let seen = measured.clone();
    let test = |world: World| async move {
        world.call(&world.issuer.token().sign()).await.unwrap();
        sleep(MINUTE).await;
        assert_eq!(seen.count(LOST), 0);
        assert!(seen.gauge(AGE).unwrap() <= 11.0, "a heartbeat comes every ten seconds: {:?}", seen.gauge(AGE));
        turmoil::partition("service", "issuer");
        sleep(2 * MINUTE).await;
        assert!(seen.count(LOST) >= 1);
        assert!(seen.gauge(AGE).unwrap() >= 100.0, "{:?}", seen.gauge(AGE));
        turmoil::repair("service", "issuer");
        sleep(MINUTE).await;
        let lost = seen.count(LOST);
        assert!(seen.gauge(AGE).unwrap() <= 11.0, "{:?}", seen.gauge(AGE));
        sleep(MINUTE).await;
        assert_eq!(seen.count(LOST), lost);
    };
    metrics::with_local_recorder(&measured, || simulate(11 * MINUTE, test));
}

#[test]
fn after_the_configured_age_nothing_is_accepted_until_the_stream_is_back() {
    simulate(20 * MINUTE, |world| async move {
        let good = world.issuer.token().sign();
        world.call(&good).await.unwrap();
        turmoil::partition("service", "issuer");
        sleep(9 * MINUTE).await;
        world.call(&good).await.unwrap();
        sleep(2 * MINUTE).await;
        retry_after(world.call(&good).await);
        retry_after(world.call(&world.issuer.token().sign()).await);
        turmoil::repair("service", "issuer");
        sleep(MINUTE).await;
        world.call(&good).await.unwrap();
    });
}

#[test]
fn a_trust_service_of_another_issuer_is_not_believed() {
    let mut sim = simulation(MINUTE);
    let issuer = TestIssuer::new("https://issuer.example");
    let trust = Trust::new("https://other.example", vec![key(&issuer, KeyState::Active)]);
    serve(&mut sim, trust);
    sim.client("service", async move {
        for trusted in [
            TrustedIssuer::watch(
                issuer.issuer(),
                IssuerChannel::of_channel(channel("issuer"), danger::AllowPlaintext),
            )?,
            TrustedIssuer::grpc(issuer.issuer(), IssuerChannel::of_channel(channel("issuer"), danger::AllowPlaintext))?,
        ] {
            retry_after(call(&layer(trusted, &issuer)?, &issuer.token().sign()).await);
        }
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn keys_can_be_listed_in_place_of_pushed() {
    let mut sim = simulation(MINUTE);
    let issuer = TestIssuer::new("https://issuer.example");
    let distrusted = issuer.rotated();
    let keys = vec![key(&issuer, KeyState::Active), key(&distrusted, KeyState::Distrusted)];
    let trust = Trust::new(issuer.issuer(), keys);
    serve(&mut sim, trust);
    sim.client("service", async move {
        let trusted =
            TrustedIssuer::grpc(issuer.issuer(), IssuerChannel::of_channel(channel("issuer"), danger::AllowPlaintext))?;
        let layer = layer(trusted, &issuer)?;
        call(&layer, &issuer.token().sign()).await.unwrap();
        assert_eq!(reason(call(&layer, &distrusted.token().sign()).await), "TOKEN_KEY_UNKNOWN");
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn a_snapshot_does_not_erase_revocations_of_the_program_itself() {
    let own = Revocations::new();
    own.revoke_token("mine", SystemTime::UNIX_EPOCH + Duration::from_secs(u32::MAX.into()));
    let test = |world: World| async move {
        let mine = world.issuer.token().claim("jti", "mine").sign();
        assert_eq!(reason(world.call(&mine).await), "TOKEN_REVOKED");
        world.call(&world.issuer.token().claim("jti", "t1").sign()).await.unwrap();
        world.revoke(token_hash("t1"), world.issuer.clock().now());
        sleep(SECOND).await;
        world.trust.forget_versions();
        turmoil::partition("service", "issuer");
        sleep(MINUTE).await;
        turmoil::repair("service", "issuer");
        sleep(MINUTE).await;
        assert_eq!(reason(world.call(&mine).await), "TOKEN_REVOKED");
        assert_eq!(reason(world.call(&world.issuer.token().claim("jti", "t1").sign()).await), "TOKEN_REVOKED");
    };
    simulate_with(5 * MINUTE, own, test);
}

#[test]
fn no_token_is_accepted_before_the_last_part_of_a_first_snapshot() {
    let mut sim = simulation(5 * MINUTE);
    let issuer = TestIssuer::new("https://issuer.example");
    let trust = Trust::new(issuer.issuer(), vec![key(&issuer, KeyState::Active)]);
    let release = trust.in_two_parts(Revocation { target: Some(token_hash("t1")), ..Default::default() });
    serve(&mut sim, trust);
    sim.client("service", async move {
        let channel = IssuerChannel::of_channel(channel("issuer"), danger::AllowPlaintext);
        let layer = layer(TrustedIssuer::watch(issuer.issuer(), channel)?, &issuer)?;
        let (revoked, other) = (issuer.token().claim("jti", "t1").sign(), issuer.token().sign());
        retry_after(call(&layer, &revoked).await);
        retry_after(call(&layer, &other).await);
        release.notify_one();
        sleep(SECOND).await;
        assert_eq!(reason(call(&layer, &revoked).await), "TOKEN_REVOKED");
        call(&layer, &other).await.unwrap();
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn a_revocation_of_an_unknown_kind_ends_the_stream_and_then_trust() {
    simulate(20 * MINUTE, |world| async move {
        let good = world.issuer.token().sign();
        world.call(&good).await.unwrap();
        world.trust.push(WatchTrustResponse { revocations: vec![Revocation::default()], ..Default::default() });
        sleep(9 * MINUTE).await;
        world.call(&good).await.unwrap();
        sleep(2 * MINUTE).await;
        retry_after(world.call(&good).await);
    });
}

#[test]
fn trust_from_before_a_suspension_is_stale_until_the_issuer_is_heard() {
    simulate(5 * MINUTE, |world| async move {
        let token = |world: &World| world.issuer.token().sign();
        world.call(&token(&world)).await.unwrap();
        // The time of day goes on while the machine sleeps, and its timers do not.
        world.issuer.clock().advance(11 * MINUTE);
        retry_after(world.call(&token(&world)).await);
        sleep(11 * SECOND).await;
        world.call(&token(&world)).await.unwrap();
    });
}
