//! A background task that ends with its owner, and restarts if its runtime has ended.

use std::{
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{runtime::Handle, task::AbortHandle};

#[derive(Debug, Default)]
pub(super) struct Task(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    running: Option<AbortHandle>,
    /// True once the task must not start again.
    ended: bool,
}

impl Task {
    /// Starts `work` unless it runs. Outside a runtime nothing happens; the next call within one starts it.
    pub(super) fn ensure<F>(&self, work: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut task = lock(&self.0);
        if task.running.as_ref().is_none_or(AbortHandle::is_finished) {
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

    /// Ends the work, and never starts it again.
    pub(super) fn end(&self) {
        let mut task = lock(&self.0);
        task.ended = true;
        if let Some(running) = task.running.take() {
            running.abort();
        }
    }
}

fn start<F>(task: &mut State, work: impl FnOnce() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    if task.ended {
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    if let Some(former) = task.running.replace(runtime.spawn(work()).abort_handle()) {
        former.abort();
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.end();
    }
}

/// A panic leaves nothing half-done under the locks of this module and its neighbours, so poison is ignored.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn an_ended_task_stops_and_never_starts_again() {
        let (alive, mut gone) = tokio::sync::mpsc::channel::<()>(1);
        let task = Task::default();
        let work = |alive: tokio::sync::mpsc::Sender<()>| async move {
            pending::<()>().await;
            drop(alive);
        };
        task.ensure(|| work(alive.clone()));
        task.end();
        task.ensure(|| work(alive.clone()));
        task.replace(|| work(alive.clone()));
        drop(alive);
        // Closed once no task holds the other end.
        assert_eq!(gone.recv().await, None);
    }
}
