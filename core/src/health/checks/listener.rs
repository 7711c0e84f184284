//! `listener`: is the address of `metrics.listen` ours?
//!
//! Comes by itself where that setting is there. Who has the address instead is in the message, with its process and its
//! program where they can be seen; while another process of the same service has it, all is well.
//!
//! It never fails, only warns: the service works, and it is those who watch it that are blind.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::cancel::Scope;
use crate::error::Result;
use crate::health::{CheckOutcome, CheckStatus, HealthCheck};

/// How the listener stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSeen {
    /// Whether this service has the address.
    pub well: bool,
    /// What there is to say.
    pub message: String,
}

/// Where the check looks.
pub type ListenerSource = Arc<dyn Fn() -> ListenerSeen + Send + Sync>;

/// Looks how the listener stands.
pub struct ListenerCheck {
    look: ListenerSource,
}

impl ListenerCheck {
    /// A check that looks there.
    pub fn new(look: ListenerSource) -> Self {
        Self { look }
    }
}

impl fmt::Debug for ListenerCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerCheck").finish_non_exhaustive()
    }
}

#[async_trait]
impl HealthCheck for ListenerCheck {
    async fn check(&self, scope: &Scope) -> Result<CheckOutcome> {
        scope.cancel.check()?;
        let ListenerSeen { well, message } = (self.look)();
        Ok(match well {
            true => CheckOutcome::new(CheckStatus::Pass, message),
            false => CheckOutcome::new(
                CheckStatus::Warn,
                format!("{message}: stop who has it, or choose another metrics.listen"),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stranger_is_a_warning_with_the_repair() {
        for (well, status) in [(true, CheckStatus::Pass), (false, CheckStatus::Warn)] {
            let seen =
                ListenerSeen { well, message: "127.0.0.1:9464 is not to be had: process 7 (x) has it".to_owned() };
            let check = ListenerCheck::new(Arc::new(move || seen.clone()));
            let outcome = check.check(&Scope::default()).await.unwrap();
            assert_eq!(outcome.status, status);
            assert_eq!(outcome.message.ends_with("choose another metrics.listen"), !well, "{}", outcome.message);
        }
    }
}
