//! Answers that are older than the question.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::simulation::executor::lock;

/// The last answer to each question, for a fault that gives it once more.
#[derive(Debug)]
pub(crate) struct Answers<K, V> {
    last: Mutex<BTreeMap<K, V>>,
}

impl<K, V> Default for Answers<K, V> {
    fn default() -> Self {
        Self { last: Mutex::default() }
    }
}

impl<K: Ord + Clone, V: Clone> Answers<K, V> {
    /// The answer that was given last.
    pub(crate) fn old(&self, question: &K) -> Option<V> {
        lock(&self.last).get(question).cloned()
    }

    /// Keeps an answer.
    pub(crate) fn keep(&self, question: &K, answer: &V) {
        lock(&self.last).insert(question.clone(), answer.clone());
    }
}
