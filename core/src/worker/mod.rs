//! The worker: a child process for the work that reads the service's files.
