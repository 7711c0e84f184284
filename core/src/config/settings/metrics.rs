//! The settings of metrics: where they are served, what is collected, how much of the past is kept.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::value::ByteSize;

/// What `metrics.collect` may name.
pub const COLLECTORS: [&str; 8] = ["backups", "cgroup", "filesystem", "jobs", "network", "process", "redis", "stores"];

/// Where numbers are served, what is collected, and how much of the past is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSettings {
    /// The address on which this service serves `/metrics`, the probes and the operations by itself, such as
    /// `127.0.0.1:9464`. Port 9090 is Prometheus' own. `[http]` says who may ask.
    pub listen: Option<String>,
    /// How many sets of label values a metric keeps apart unless its definition says otherwise. Further ones are counted
    /// together, with the label values `__overflow__`.
    pub max_series: usize,
    /// Whether the processes of the service share what they count, so that each shows the sum of all. Without it each
    /// shows its own.
    pub shared: bool,
    /// The folder in which they share it: `metrics` in the state folder when unset. On a disk of this machine, or in
    /// memory (`/dev/shm/uplifted`); it holds 100 KB for each process, and more with more series.
    pub folder: Option<PathBuf>,
    /// What the page tells beside the service's own instruments: `backups`, `cgroup`, `filesystem`, `jobs`, `network`,
    /// `process`, `redis` (each that a `[[check]]` of that kind names), `stores`. All of it unless set; `process_*` is always
    /// there.
    pub collect: Vec<String>,
    /// How long a page waits for filesystems and for a Redis that do not answer, in seconds, 0.1 to 10.
    pub collector_deadline_seconds: f64,
    /// Kinds of filesystems that are left out, as globs: those without a disk below them, and those that are always full.
    pub filesystem_exclude_types: Vec<String>,
    /// Places whose filesystems are left out, as globs.
    pub filesystem_exclude_mounts: Vec<String>,
    /// Network interfaces that are left out, as globs.
    pub network_exclude: Vec<String>,
    /// How old the numbers of a database may be before its worker is asked again, in seconds. A page never waits for
    /// that: it shows what is known.
    pub store_seconds: f64,
    /// How much of the past the process keeps, in seconds, for `metrics.history` and for alerts. 0 keeps none.
    pub history_seconds: f64,
    /// How often the past is written down, in seconds.
    pub step_seconds: f64,
    /// The most memory that the past may take. Past it the oldest is given up first.
    pub history_bytes: ByteSize,
    /// The most series that the past is kept of. Those that come later are counted, and not kept.
    pub history_series: usize,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        let list = |of: &[&str]| of.iter().map(|name| (*name).to_owned()).collect();
        Self {
            listen: None,
            max_series: 2_000,
            shared: true,
            folder: None,
            collect: list(&COLLECTORS),
            collector_deadline_seconds: 1.0,
            // Those of node_exporter, and those in memory. An overlay stays: in a container it is the root, and its
            // numbers are those of the disk below it.
            filesystem_exclude_types: list(&[
                "autofs",
                "binfmt_misc",
                "bpf",
                "cgroup*",
                "configfs",
                "debugfs",
                "devpts",
                "devtmpfs",
                "efivarfs",
                "erofs",
                "fuse.lxcfs",
                "fusectl",
                "hugetlbfs",
                "iso9660",
                "mqueue",
                "nsfs",
                "proc",
                "pstore",
                "ramfs",
                "rpc_pipefs",
                "securityfs",
                "selinuxfs",
                "squashfs",
                "sysfs",
                "tmpfs",
                "tracefs",
            ]),
            filesystem_exclude_mounts: list(&[
                "/dev{,/**}",
                "/proc{,/**}",
                "/sys{,/**}",
                "/run/credentials/**",
                "/run/{containerd,docker,k3s,netns}/**",
                "/var/lib/{containerd,docker,kubelet}/**",
                "/var/lib/containers/storage/**",
            ]),
            network_exclude: list(&[
                "lo", "br-*", "cali*", "cilium_*", "cni*", "docker*", "dummy*", "flannel*", "ifb*", "lxc*", "tap*",
                "veth*", "virbr*", "vnet*",
            ]),
            store_seconds: 60.0,
            history_seconds: 7200.0,
            step_seconds: 15.0,
            history_bytes: ByteSize(32 << 20),
            history_series: 20_000,
        }
    }
}

/// A value that cannot be acted on: the setting, what is wrong, the repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsMistake {
    /// The setting concerned.
    pub key: &'static str,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// The repair.
    pub hint: String,
}

impl MetricsSettings {
    /// Whether that collector is wanted.
    pub fn collects(&self, name: &str) -> bool {
        self.collect.iter().any(|wanted| wanted == name)
    }

    /// How long a page waits for filesystems.
    pub fn collector_deadline(&self) -> Result<Duration> {
        Duration::try_from_secs_f64(self.collector_deadline_seconds)
            .map_err(|_| Error::invalid("metrics.collector_deadline_seconds is no time").with_hint("set it to 1"))
    }

    /// What is wrong with them.
    pub fn mistakes(&self) -> Vec<MetricsMistake> {
        let mut mistakes = Vec::new();
        let mut wrong = |key, message: String, hint: String| mistakes.push(MetricsMistake { key, message, hint });
        for name in self.collect.iter().filter(|name| !COLLECTORS.contains(&name.as_str())) {
            let likeness = |known: &&str| strsim::normalized_damerau_levenshtein(known, name);
            let near = COLLECTORS.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            let hint = match near.filter(|near| likeness(near) >= 0.6) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("name some of: {}", COLLECTORS.join(", ")),
            };
            wrong("metrics.collect", format!("there is no collector {name:?}"), hint);
        }
        if self.max_series == 0 {
            let message = "every series with labels would be counted together".to_owned();
            wrong("metrics.max_series", message, "use 2000, or as many as a metric of yours has".to_owned());
        }
        let globs = [
            ("metrics.filesystem_exclude_types", &self.filesystem_exclude_types),
            ("metrics.filesystem_exclude_mounts", &self.filesystem_exclude_mounts),
            ("metrics.network_exclude", &self.network_exclude),
        ];
        for (key, patterns) in globs {
            for pattern in patterns {
                if let Err(error) = fast_glob::validate(pattern) {
                    wrong(key, format!("{pattern:?} is not a glob: {error}"), "use * and ? and {a,b}".to_owned());
                }
            }
        }
        let numbers = [
            ("metrics.collector_deadline_seconds", self.collector_deadline_seconds, 0.1, 10.0, "1"),
            ("metrics.store_seconds", self.store_seconds, 1.0, 86_400.0, "60"),
            ("metrics.step_seconds", self.step_seconds, 1.0, 3600.0, "15"),
        ];
        for (key, value, least, most, usual) in numbers {
            if !(least..=most).contains(&value) {
                wrong(key, format!("it is {value}"), format!("set it to {least} to {most}, such as {usual}"));
            }
        }
        if self.history_seconds != 0.0 && !(60.0..=604_800.0).contains(&self.history_seconds) {
            let message = format!("it is {}", self.history_seconds);
            wrong("metrics.history_seconds", message, "set it to 60 to 604800, such as 7200, or to 0".to_owned());
        }
        mistakes
    }

    /// Refuses what cannot be acted on.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) with the first of the [`mistakes`](Self::mistakes).
    pub fn check(&self) -> Result<()> {
        match self.mistakes().into_iter().next() {
            None => Ok(()),
            Some(MetricsMistake { key, message, hint }) => {
                Err(Error::invalid(format!("{key}: {message}")).with_hint(hint))
            }
        }
    }
}

/// Whether one of the globs matches. `**` crosses `/`, `*` does not.
pub fn excluded(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| fast_glob::glob_match(pattern, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_leave_out_what_has_no_disk_and_keep_what_has() {
        let settings = MetricsSettings::default();
        assert_eq!(settings.mistakes(), []);
        for (kind, out) in [
            ("ext4", false),
            ("overlay", false),
            ("nfs4", false),
            ("fuse.sshfs", false),
            ("cgroup2", true),
            ("tmpfs", true),
        ] {
            assert_eq!(excluded(&settings.filesystem_exclude_types, kind), out, "{kind}");
        }
        for (point, out) in [
            ("/", false),
            ("/data", false),
            ("/device", false),
            ("/var/lib/postgresql", false),
            ("/dev", true),
            ("/dev/shm", true),
            ("/sys/fs/cgroup/x", true),
            ("/var/lib/docker/overlay2/a/merged", true),
        ] {
            assert_eq!(excluded(&settings.filesystem_exclude_mounts, point), out, "{point}");
        }
        for (interface, out) in [("eth0", false), ("wg0", false), ("lo", true), ("veth12ab", true), ("br-7f", true)] {
            assert_eq!(excluded(&settings.network_exclude, interface), out, "{interface}");
        }
    }

    #[test]
    fn what_cannot_be_acted_on_is_named() {
        let wrong = MetricsSettings {
            collect: vec!["filesystems".into(), "weather".into()],
            network_exclude: vec!["[".into()],
            step_seconds: f64::NAN,
            history_seconds: 1.0,
            ..MetricsSettings::default()
        };
        let told: Vec<String> =
            wrong.mistakes().into_iter().map(|m| format!("{}: {} ({})", m.key, m.message, m.hint)).collect();
        assert_eq!(told.len(), 5, "{told:#?}");
        assert_eq!(told[0], "metrics.collect: there is no collector \"filesystems\" (did you mean \"filesystem\"?)");
        assert!(told[1].contains("name some of: backups, cgroup"), "{}", told[1]);
        assert!(wrong.check().unwrap_err().to_string().contains("metrics.collect"));
    }
}
