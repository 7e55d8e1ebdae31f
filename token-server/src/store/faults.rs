//! Faults for stores in tests: a store in memory calls [`Faults::point`] at every await, and a test plans what happens
//! there.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::StoreError;

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call fails: before it reached the store, or after, when the answer is lost.
    Fail,
    /// The call never returns; its caller gives up.
    Hang,
    /// The call takes this long.
    Delay(Duration),
}

/// Every kind of fault that a caller must survive.
pub(crate) const FAULTS: [Fault; 3] = [Fault::Fail, Fault::Hang, Fault::Delay(Duration::from_secs(3))];

/// The points of one store, counted.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    passed: AtomicUsize,
    planned: Mutex<Option<(usize, Fault)>>,
    broken: AtomicBool,
}

impl Faults {
    /// Plans one fault, `after` points from now.
    pub(crate) fn plan(&self, after: usize, fault: Fault) {
        *self.planned.lock().unwrap() = Some((self.passed.load(Ordering::SeqCst) + after, fault));
    }

    /// Whether the planned fault has happened.
    pub(crate) fn happened(&self) -> bool {
        self.planned.lock().unwrap().is_none()
    }

    /// Every call fails from now on, or none does any more.
    pub(crate) fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    /// A store calls this before it does what it is asked, and after.
    pub(crate) async fn point(&self) -> Result<(), StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::unavailable("pulled the plug"));
        }
        let here = self.passed.fetch_add(1, Ordering::SeqCst);
        let fault = self.planned.lock().unwrap().take_if(|(at, _)| *at == here);
        match fault {
            None => Ok(()),
            Some((_, Fault::Fail)) => Err(StoreError::unavailable("pulled the plug")),
            Some((_, Fault::Hang)) => std::future::pending().await,
            Some((_, Fault::Delay(time))) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
        }
    }
}
