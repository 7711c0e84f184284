//! The public suites, run against plugins.
