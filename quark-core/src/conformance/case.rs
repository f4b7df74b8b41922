//! `Case`: one case of a suite as a value, for those who run suites themselves.

use std::fmt;
use std::pin::Pin;

use super::CaseResult;

/// What running a case yields.
type Running<'a> = Pin<Box<dyn Future<Output = CaseResult> + Send + 'a>>;

/// One case of a suite for fixtures of the type `F`.
pub struct Case<F: ?Sized> {
    name: &'static str,
    run: for<'a> fn(&'a F) -> Running<'a>,
}

impl<F: ?Sized> Case<F> {
    pub(super) fn new(name: &'static str, run: for<'a> fn(&'a F) -> Running<'a>) -> Self {
        Self { name, run }
    }

    /// The name of its function.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it against a new fixture.
    ///
    /// # Errors
    ///
    /// What the backend did instead of what its contract says.
    pub async fn run(&self, fixture: &F) -> CaseResult {
        (self.run)(fixture).await
    }
}

impl<F: ?Sized> fmt::Debug for Case<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Makes a table of cases from their names.
macro_rules! case_table {
    ([$($case:ident),+ $(,)?]) => {
        vec![$(Case::new(stringify!($case), |fixture| Box::pin($case(fixture)))),+]
    };
}

pub(super) use case_table;
