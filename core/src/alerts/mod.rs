//! Alerts: what somebody is to be told, as data.
//!
//! [`rules`] has the rules of a service: the operations guide's, with their faults mended, and those that the guide
//! lacks. `uplifted-ops generate alerts` writes them for Prometheus, each with [cases](Case) that show when it fires and
//! when it does not.
//!
//! What was wrong with the guide's, and is not with these:
//!
//! | alert | the guide's | here |
//! | --- | --- | --- |
//! | `UpliftedDown` | silent once the target is gone from discovery | `absent` as well |
//! | `HighErrorRate` | "10 %" was 0.1 errors a second of one status | a share of all requests, of at least ten |
//! | `HighCPUUsage` | fires for ever once 0.8 s of CPU time are used, of any job | a share of the cores that the process may use |
//! | `LowDiskSpace` | needs a node_exporter that nobody set up; fires for read-only images | our own numbers, writable filesystems alone, and a rule that says when they are missing |

mod cases;
mod rules;

pub use cases::{Case, Series, cases};
pub use rules::{Facts, Rule, Severity, rules};
