//! The places that come with the product, one file each.
//!
//! | kind | where the numbers go |
//! | --- | --- |
//! | [`textfile`] | a file that the textfile collector of node_exporter reads |
//! | [`otlp`] | an OpenTelemetry collector, over HTTP |
//! | [`statsd`] | a StatsD server or a Datadog agent, in datagrams |

pub mod otlp;
pub mod statsd;
pub mod textfile;
