//! What the engine takes from the program it lives in: a place for its tasks,
//! and names that nobody else has. The simulator puts its own here, so that a
//! whole engine runs in one thread, in an order that a seed decides.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{AbortHandle, BoxFuture, abortable};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{Error, ErrorKind, Result};

/// What the engine takes from the program it lives in.
pub(crate) trait Platform: fmt::Debug + Send + Sync + 'static {
    /// Runs a task beside its caller. A task that is never polled again, as in
    /// a process that was killed, is a case that the engine must survive.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// A name that was never given before, later than those before it.
    fn unique(&self) -> Uuid;
}

/// The tokio runtime that the engine was started in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokioPlatform;

impl Platform for TokioPlatform {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn unique(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// A task whose result somebody wants. It goes on when this is dropped.
pub(crate) struct Task<T> {
    result: oneshot::Receiver<std::thread::Result<T>>,
    abort: AbortHandle,
}

/// A task that ends when this is dropped.
pub(crate) struct Leash(AbortHandle);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T: Send + 'static> Task<T> {
    /// Begins a task.
    pub(crate) fn spawn(platform: &Arc<dyn Platform>, work: impl Future<Output = T> + Send + 'static) -> Self {
        let (sender, result) = oneshot::channel();
        let (work, abort) = abortable(AssertUnwindSafe(work).catch_unwind());
        platform.spawn(Box::pin(async move {
            if let Ok(done) = work.await {
                // Whoever began it may be gone.
                let _ = sender.send(done);
            }
        }));
        Self { result, abort }
    }

    /// Ends the task when the result is dropped.
    pub(crate) fn leash(self) -> Leash {
        Leash(self.abort)
    }

    /// Waits for the end; what panics or is taken down with its runtime is an
    /// `Internal` error.
    pub(crate) async fn join(&mut self) -> Result<T> {
        match (&mut self.result).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(panic)) => Err(Error::new(ErrorKind::Internal, format!("it panicked: {}", words(panic.as_ref())))),
            Err(_) => Err(Error::new(ErrorKind::Internal, "its task was taken away")),
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_words() {
        let platform: Arc<dyn Platform> = Arc::new(TokioPlatform);
        let mut task = Task::<()>::spawn(&platform, async { panic!("out of cheese") });
        let error = task.join().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(error.message().contains("out of cheese"));
    }

    #[tokio::test]
    async fn a_leashed_task_ends_with_its_leash() {
        let platform: Arc<dyn Platform> = Arc::new(TokioPlatform);
        let (gone, ended) = oneshot::channel::<()>();
        let task = Task::spawn(&platform, async move {
            let _gone = gone;
            std::future::pending::<()>().await;
        });
        drop(task.leash());
        ended.await.unwrap_err();
    }
}
