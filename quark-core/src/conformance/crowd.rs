//! `at_once`: many who want the same thing.

use std::sync::Arc;

use tokio::sync::Barrier;

use super::CaseResult;

/// How many are many.
pub(super) const CROWD: usize = 8;

/// Lets all of `works` loose at the same moment, each in a task of its own, and
/// collects what they say.
pub(super) async fn at_once<W>(works: impl IntoIterator<Item = W>) -> CaseResult<Vec<W::Output>>
where
    W: Future<Output: Send + 'static> + Send + 'static,
{
    let works: Vec<W> = works.into_iter().collect();
    let start = Arc::new(Barrier::new(works.len()));
    let tasks: Vec<_> = works
        .into_iter()
        .map(|work| {
            let start = Arc::clone(&start);
            tokio::spawn(async move {
                start.wait().await;
                work.await
            })
        })
        .collect();
    let mut said = Vec::new();
    for task in tasks {
        said.push(task.await.map_err(|error| format!("a task broke off: {error}"))?);
    }
    Ok(said)
}
