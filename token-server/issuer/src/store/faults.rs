//! Fault injection for stores in tests. An in-memory store calls [`Faults::point`] at every await, and a test
//! plans the fault there.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::StoreError;

/// A fault at one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call fails: either before it reaches the store, or after, so that the answer is lost.
    Fail,
    /// The call never returns, until its caller gives up.
    Hang,
    /// The call takes this long.
    Delay(Duration),
}

/// Every kind of fault that a caller must survive.
pub(crate) const FAULTS: [Fault; 3] = [Fault::Fail, Fault::Hang, Fault::Delay(Duration::from_secs(3))];

/// Counts the points that one store has passed.
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

    /// The number of points that were passed.
    pub(crate) fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }

    /// Returns true if the planned fault has happened.
    pub(crate) fn happened(&self) -> bool {
        self.planned.lock().unwrap().is_none()
    }

    /// Makes every call fail from now on, or ends that.
    pub(crate) fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    /// A point at which a fault may happen. A store calls it before and after each operation.
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
