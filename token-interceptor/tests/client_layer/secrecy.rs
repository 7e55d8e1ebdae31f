//! No secret and no token appears in any log, at any level, of any library involved.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use token_interceptor::status::Answer;
use token_proto::token::v1::ErrorReason;
use tokio::time::sleep;

use crate::{callee::Verdict, issuer::Behaviour, network::simulate, outages::call};

/// The logged text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A second dispatcher that lives as long as the program. With only one, the first thread of an event decides
/// for all threads if it is ever recorded, and other tests' threads have no subscriber.
static SECOND: LazyLock<tracing::Dispatch> = LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry()));

#[test]
fn neither_secret_nor_token_is_logged_in_any_outcome() {
    LazyLock::force(&SECOND);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        simulate(Duration::from_secs(600), |world| async move {
            call(world.client.clone()).await.0.unwrap();
            world.callee.set(Verdict::RefuseAll(ErrorReason::TokenRevoked));
            let status = call(world.client.clone()).await.0.unwrap_err();
            assert!(!format!("{status:?}").contains("token-1"));
            for answer in [ErrorReason::IssuerUnavailable, ErrorReason::ClientAuthenticationFailed] {
                world.issuer.set(Behaviour::Fail(Duration::ZERO, Answer::new(answer, "no")));
                // Often enough to include a new attempt, with any jitter of the backoff.
                for _ in 0..30 {
                    world.clock.jump(600_000);
                    let status = call(world.client.clone()).await.0.unwrap_err();
                    assert!(!format!("{status:?}").contains("tks_secret"));
                    sleep(Duration::from_secs(2)).await;
                }
            }
            let printed = format!("{:?} {:?}", world.tokens, world.client);
            assert!(!printed.contains("tks_secret") && !printed.contains("token-"), "{printed}");
        });
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("access token obtained") && log.contains("no access token"), "the log is on");
    assert!(log.contains("invalid_client"), "the chain is told, once, inward");
    for secret in ["tks_secret", "token-1", "token-2"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
}
