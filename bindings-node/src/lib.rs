//! The native half of the npm package `uplifted-ops`.
//!
//! It is thin: JSON text, numbers and blocks of bytes cross, and TypeScript (`lib/`) turns them into what people
//! use. Nothing here blocks the event loop, and nothing crosses as memory that JavaScript would share (Electron
//! refuses external array buffers).
//!
//! | file | what it holds |
//! | --- | --- |
//! | `builder`, `ops` | opening an `Ops`, and running operations of it |
//! | `channel` | the one way back to an event loop: answers and progress by the number of their call |
//! | `plugin` | an object of JavaScript as a component |
//! | `http` | requests of a server of the host |
//! | `metrics` | instruments of the process's registry |
//! | `suites` | the public suites, run against objects of JavaScript |
//! | `process` | this process as a worker, and as the command line |
//!
//! Every failure crosses as JSON text, that of an `ErrorBody`, as the message of an error (see `error`).

#![allow(unsafe_code, reason = "what the macros of napi write, and conversions of its types, are unsafe functions")]
#![allow(unreachable_pub, reason = "what JavaScript sees is public, and no Rust code reaches it")]
// `needless_pass_by_value`-like lints do not fit signatures that JavaScript calls.
#![warn(missing_docs)]

mod builder;
mod channel;
mod error;
mod http;
mod metrics;
mod ops;
mod plugin;
mod process;
mod suites;
