//! `network`: what each interface has carried, in this process' network namespace.
//!
//! `uplifted_ops_network_{receive,transmit}_{bytes,packets,errs,drop}_total{device}`. Left out are the interfaces of
//! `metrics.network_exclude`: the loopback and those that containers and bridges make by the hundred.
//!
//! Source: proc_pid_net(5), `/proc/self/net/dev`; the names are those of node_exporter's `netdev` collector.

use super::{Collected, Collector, counter};
use crate::config::{MetricsSettings, excluded};
use crate::error::Result;
use crate::metrics::kernel::Kernel;

/// The columns of the file that are told: position, end of the name, help.
const COLUMNS: [(usize, &str, &str); 8] = [
    (0, "receive_bytes", "Bytes received"),
    (1, "receive_packets", "Packets received"),
    (2, "receive_errs", "Errors while receiving"),
    (3, "receive_drop", "Packets dropped while receiving"),
    (8, "transmit_bytes", "Bytes sent"),
    (9, "transmit_packets", "Packets sent"),
    (10, "transmit_errs", "Errors while sending"),
    (11, "transmit_drop", "Packets dropped while sending"),
];

/// Reads the counters of the interfaces.
pub(super) struct Network {
    kernel: Kernel,
    without: Vec<String>,
}

impl Network {
    pub(super) fn new(kernel: Kernel, settings: &MetricsSettings) -> Result<Self> {
        Ok(Self { kernel, without: settings.network_exclude.clone() })
    }
}

/// The name of an interface and its sixteen counters.
fn parse(line: &str) -> Option<(&str, Vec<u64>)> {
    // The name of an alias has a colon in it, the numbers have none.
    let (name, numbers) = line.rsplit_once(':')?;
    let numbers: Vec<u64> = numbers.split_ascii_whitespace().map_while(|number| number.parse().ok()).collect();
    (numbers.len() >= 16).then_some((name.trim(), numbers))
}

impl Collector for Network {
    fn name(&self) -> &str {
        "network"
    }

    fn collect(&self, out: &mut Collected) -> Result<()> {
        let text = self.kernel.read("/proc/self/net/dev")?;
        let interfaces: Vec<_> =
            text.lines().filter_map(parse).filter(|(name, _)| !excluded(&self.without, name)).collect();
        for (column, name, help) in COLUMNS {
            let name = format!("uplifted_ops_network_{name}");
            let mut family = counter(&name, help);
            for (device, numbers) in &interfaces {
                family = family.number(&[("device", device)], numbers[column] as f64);
            }
            out.push(family)?;
        }
        Ok(())
    }
}
