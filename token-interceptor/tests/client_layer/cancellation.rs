//! Dropped calls, dropped handles, and runtimes that have ended.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use token_interceptor::{
    clock::SystemClock,
    refresh::{FreshToken, TokenError},
    source::{AccessToken, IssuedToken, SourceError, TokenRequest, TokenSource},
};
use tokio::time::{sleep, timeout};

use crate::{issuer::Behaviour, network::simulate, outages::call};

#[test]
fn a_call_that_is_dropped_does_not_take_the_request_with_it() {
    simulate(Duration::from_secs(20), |world| async move {
        world.issuer.set(Behaviour::Stall(Duration::from_secs(1)));
        timeout(Duration::from_millis(100), call(world.client.clone())).await.unwrap_err();
        sleep(Duration::from_secs(2)).await;
        assert_eq!(world.issuer.requests(), 1);
        call(world.client.clone()).await.0.unwrap();
        assert_eq!(world.issuer.requests(), 1, "its token serves the next call");
    });
}

/// Counts requests. A clone lives as long as a request may still come.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

#[async_trait::async_trait]
impl TokenSource for Counting {
    async fn fetch(&self, _: &TokenRequest) -> Result<IssuedToken, SourceError> {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        let token = AccessToken::new(&format!("token-{number}")).map_err(SourceError::unavailable)?;
        Ok(IssuedToken::new(token, Duration::from_secs(300)))
    }
}

struct Hanging(#[expect(dead_code, reason = "held, so that the test sees when it is let go")] Arc<()>);

#[async_trait::async_trait]
impl TokenSource for Hanging {
    async fn fetch(&self, _: &TokenRequest) -> Result<IssuedToken, SourceError> {
        std::future::pending().await
    }
}

struct Panicking;

#[async_trait::async_trait]
impl TokenSource for Panicking {
    async fn fetch(&self, _: &TokenRequest) -> Result<IssuedToken, SourceError> {
        panic!("a bug in a source")
    }
}

fn fresh(source: impl TokenSource) -> FreshToken {
    FreshToken::new(Arc::new(source), TokenRequest::for_audience("a"), SystemClock::shared())
}

/// Lets every task run until it waits.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_task_ends_with_the_last_handle_also_in_the_middle_of_a_request() {
    let held = Arc::new(());
    let token = fresh(Hanging(Arc::clone(&held)));
    let clone = token.clone();
    assert!(matches!(token.now(), Err(TokenError::Pending)));
    settle().await;
    drop(token);
    settle().await;
    assert_eq!(Arc::strong_count(&held), 2, "a handle is left");
    drop(clone);
    settle().await;
    assert_eq!(Arc::strong_count(&held), 1, "the source is let go");
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let token = fresh(Counting::default());
    assert!(matches!(token.now(), Err(TokenError::NoRuntime)));
}

#[test]
fn a_token_outlives_its_runtime() {
    let source = Counting::default();
    let token = fresh(source.clone());
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime().block_on(token.get()).unwrap();
    // The first runtime and its task are gone. The cached token is still valid.
    assert_eq!(token.now().unwrap().expose(), "token-0");
    assert_eq!(runtime().block_on(token.get()).unwrap().expose(), "token-0");
    assert_eq!(source.0.load(Ordering::SeqCst), 1);
}

#[test]
fn a_request_that_its_runtime_takes_along_is_made_again_on_the_next() {
    let token = fresh(Hanging(Arc::default()));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    for _ in 0..2 {
        let waited = runtime().block_on(async { timeout(Duration::from_secs(1), token.get()).await });
        assert!(waited.is_err(), "asked, and not answered");
    }
    assert!(matches!(token.now(), Err(TokenError::NoRuntime)));
}

#[tokio::test]
async fn a_source_that_panics_is_an_error() {
    assert!(matches!(fresh(Panicking).get().await, Err(TokenError::Stopped)));
}
