//! A case of a suite, and what became of it.

use std::fmt;
use std::pin::Pin;

use serde::Serialize;

use crate::error::Result;

/// What a case waits for: nothing, or what was wrong.
pub(super) type Checked<E = String> = Pin<Box<dyn Future<Output = std::result::Result<(), E>> + Send>>;

/// One clause of a contract, as a check of an `F`: an empty target, a store over a fresh database.
pub struct Case<F, E = String> {
    /// Its name.
    pub name: &'static str,
    /// The clause.
    pub clause: &'static str,
    pub(super) run: fn(F) -> Checked<E>,
}

impl<F, E> fmt::Debug for Case<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Runs every case, each on a fixture of its own that `fresh` makes, and on a task of its own, so that an
/// implementation that panics fails its case and no other.
pub(super) async fn run_all<F, E>(cases: Vec<Case<F, E>>, fresh: impl AsyncFn() -> Result<F>) -> Vec<CaseOutcome>
where
    F: Send + 'static,
    E: fmt::Display + Send + 'static,
{
    let mut outcomes = Vec::new();
    for Case { name, clause, run } in cases {
        let failure = match fresh().await {
            Ok(fixture) => match tokio::spawn(run(fixture)).await {
                Ok(checked) => checked.err().map(|error| error.to_string()),
                Err(error) => Some(format!("it panicked: {error}")),
            },
            Err(error) => Some(format!("no fresh fixture: {error}")),
        };
        outcomes.push(CaseOutcome { name, clause, failure });
    }
    outcomes
}

/// The case that a function of the same name checks.
macro_rules! case {
    ($name:ident, $clause:literal) => {
        Case { name: stringify!($name), clause: $clause, run: |fixture| Box::pin($name(fixture)) }
    };
}
pub(super) use case;

/// What became of one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseOutcome {
    /// The case's name.
    pub name: &'static str,
    /// The clause of the contract that it checks.
    pub clause: &'static str,
    /// What was wrong, `None` when nothing was.
    pub failure: Option<String>,
}
