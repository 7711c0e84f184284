//! End to end: the command line and an embedding host, on real folders, real databases, real servers.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests set up their own scenes")]

mod any_second;
mod encryption;
mod layouts;
mod live;
mod locks;
mod main_job;
mod moments;
mod mounts;
mod plain_tools;
mod postgres;
mod postgres_past;
mod retention;
mod sealed_repository;
mod sftp;
mod without_identity;

const PROGRAM: &str = env!("CARGO_BIN_EXE_under-test");
