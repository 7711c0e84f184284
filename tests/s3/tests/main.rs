//! The S3 target against a real server, and through a proxy that breaks what passes.

mod end_to_end;
mod faults;
mod scene;
mod suite;
mod tls;
