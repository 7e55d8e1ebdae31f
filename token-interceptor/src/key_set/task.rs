//! A background task that ends with its owner, and restarts if its runtime has ended.

use std::{
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{runtime::Handle, task::AbortHandle};

#[derive(Debug, Default)]
pub(super) struct Task(Mutex<Option<AbortHandle>>);

impl Task {
    /// Starts `work` unless it runs. Outside a runtime nothing happens; the next call within one starts it.
    pub(super) fn ensure<F>(&self, work: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut task = lock(&self.0);
        if task.as_ref().is_none_or(AbortHandle::is_finished) {
            start(&mut task, work);
        }
    }

    /// Starts `work` in place of a task that makes no progress, as its runtime is not driven. Outside a
    /// runtime it does nothing, like [`Task::ensure`].
    pub(super) fn replace<F>(&self, work: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        start(&mut lock(&self.0), work);
    }
}

fn start<F>(task: &mut Option<AbortHandle>, work: impl FnOnce() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(runtime) = Handle::try_current() else { return };
    if let Some(former) = task.replace(runtime.spawn(work()).abort_handle()) {
        former.abort();
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.0).take() {
            task.abort();
        }
    }
}

/// A panic leaves nothing half-done under the locks of this module and its neighbours, so poison is ignored.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
