//! Components that live elsewhere: in the other process, or in another language.
//!
//! A proxy implements the contract by calls over a [`Link`]. In the worker the link leads to the host and every
//! call has a deadline, since what answers is a stranger's code; in the host it leads to a worker of the prompt
//! lane, which the pool watches (both in `worker`), or to an object of another language (in `embed`).

mod call;
mod link;
mod path;
mod proxy;

pub(crate) use call::{ComponentCall, PauseAct, StoreAct, TargetAct, UploadAct};
pub(crate) use link::{LONG_FACTOR, Link, NoAnswer, Patience, Payload, signs_of_life};
pub(crate) use path::WirePath;
pub(crate) use proxy::{RemoteCheck, RemotePauser, RemoteStore, RemoteTarget};
