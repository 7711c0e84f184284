use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::filesystem::{Filesystems, Room};
use super::*;
use crate::metrics::kernel::fake;
use crate::metrics::snapshot::Value;
use crate::metrics::{Format, MetricsSnapshot, render};

/// `name{label=value,…}` of each series, with its number.
fn told(families: &[Family]) -> BTreeMap<String, f64> {
    let mut told = BTreeMap::new();
    for family in families {
        for series in &family.series {
            let labels: Vec<String> = series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let Value::Number(value) = series.value else { panic!("{} is no number", family.name) };
            let name = family.name.strip_prefix("uplifted_ops_").unwrap_or(&family.name);
            told.insert(format!("{name}{{{}}}", labels.join(",")), value);
        }
    }
    told
}

fn only(names: &[&str]) -> MetricsSettings {
    MetricsSettings { collect: names.iter().map(|name| (*name).to_owned()).collect(), ..MetricsSettings::default() }
}

fn of(root: &Path, name: &str) -> BTreeMap<String, f64> {
    told(&Collectors::below(&only(&[name]), &Kernel::below(root)).unwrap().families())
}

const NET: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1000       9    0    0    0     0          0         0     1000       9    0    0    0     0       0          0
  eth0:18446744073709551615 162376    1    2    0     0          0         0 13052937  111554    3    4    0     0       0          0
eth0:1: 5 6 7 8 0 0 0 0 9 10 11 12 0 0 0 0
veth7f: 5 6 7 8 0 0 0 0 9 10 11 12 0 0 0 0
 short: 5 6 7
";

#[test]
fn interfaces_are_told_without_those_of_containers() {
    let (_folder, root) = fake::machine(&[("/proc/self/net/dev", NET)]);
    let told = of(&root, "network");
    assert_eq!(told["network_receive_bytes{device=eth0}"], u64::MAX as f64);
    assert_eq!(told["network_receive_drop{device=eth0}"], 2.0);
    assert_eq!(told["network_transmit_bytes{device=eth0}"], 13_052_937.0);
    assert_eq!(told["network_transmit_errs{device=eth0:1}"], 11.0);
    assert_eq!(told.keys().filter(|key| key.starts_with("network_")).count(), 16, "{told:#?}");
    assert_eq!(told["collector_success{collector=network}"], 1.0);
}

#[test]
fn a_collector_that_cannot_read_is_told_and_spoils_nothing() {
    let (_folder, root) = fake::machine(&[("/proc/self/net/dev", NET)]);
    let settings = only(&["network", "filesystem"]);
    let told = told(&Collectors::below(&settings, &Kernel::below(&root)).unwrap().families());
    assert_eq!(told["collector_success{collector=filesystem}"], 0.0);
    assert_eq!(told["collector_success{collector=network}"], 1.0);
}

#[test]
fn both_hierarchies_tell_the_same_names() {
    let (_folder, root) = fake::machine(fake::NEW);
    fake::put(
        &root,
        &[
            ("/sys/fs/cgroup/app/web/memory.max", "max\n"),
            ("/sys/fs/cgroup/app/memory.max", "1000\n"),
            ("/sys/fs/cgroup/app/memory.current", "800\n"),
            ("/sys/fs/cgroup/app/web/memory.current", "700\n"),
            ("/sys/fs/cgroup/app/web/memory.stat", "anon 1\ninactive_file 200\n"),
            ("/sys/fs/cgroup/app/web/memory.events", "low 0\nhigh 5\nmax 2\noom 1\noom_kill 1\n"),
            ("/sys/fs/cgroup/app/web/cpu.stat", "usage_usec 2500000\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n"),
            ("/sys/fs/cgroup/app/web/cpu.max", "max 100000\n"),
            ("/sys/fs/cgroup/app/cpu.stat", "usage_usec 9\nnr_periods 100\nnr_throttled 7\nthrottled_usec 1500000\n"),
            ("/sys/fs/cgroup/app/cpu.max", "150000 100000\n"),
            ("/sys/fs/cgroup/app/web/pids.current", "12\n"),
            ("/sys/fs/cgroup/app/web/pids.max", "max\n"),
            ("/sys/fs/cgroup/app/pids.max", "500\n"),
        ],
    );
    let new = of(&root, "cgroup");
    let expected = [
        ("cgroup_memory_usage_bytes{}", 700.0),
        ("cgroup_memory_working_set_bytes{}", 500.0),
        ("cgroup_memory_limit_bytes{}", 1000.0),
        ("cgroup_memory_events{event=oom_kill}", 1.0),
        ("cgroup_memory_events{event=max}", 2.0),
        ("cgroup_cpu_usage_seconds{}", 2.5),
        ("cgroup_cpu_limit_cores{}", 1.5),
        ("cgroup_cpu_periods{}", 100.0),
        ("cgroup_cpu_throttled_periods{}", 7.0),
        ("cgroup_cpu_throttled_seconds{}", 1.5),
        ("cgroup_pids{}", 12.0),
        ("cgroup_pids_limit{}", 500.0),
    ];
    for (name, value) in expected {
        assert_eq!(new.get(name), Some(&value), "{name}: {new:#?}");
    }

    let (_folder, root) = fake::machine(fake::OLD);
    fake::put(
        &root,
        &[
            ("/sys/fs/cgroup/memory/app/web/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/memory/app/web/memory.usage_in_bytes", "700\n"),
            ("/sys/fs/cgroup/memory/app/web/memory.stat", "inactive_file 1\ntotal_inactive_file 200\n"),
            ("/sys/fs/cgroup/memory/app/web/memory.failcnt", "2\n"),
            ("/sys/fs/cgroup/memory/app/web/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
            ("/sys/fs/cgroup/memory/app/memory.limit_in_bytes", "1000\n"),
            ("/sys/fs/cgroup/memory/app/memory.usage_in_bytes", "800\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/app/web/cpuacct.usage", "2500000000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/app/web/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/app/web/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us", "150000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/app/cpu.stat", "nr_periods 100\nnr_throttled 7\nthrottled_time 1500000000\n"),
        ],
    );
    let old = of(&root, "cgroup");
    for (name, value) in expected.into_iter().filter(|(name, _)| !name.contains("pids")) {
        assert_eq!(old.get(name), Some(&value), "{name}: {old:#?}");
    }
}

#[test]
fn without_control_groups_there_are_no_such_series_and_nothing_fails() {
    let (_folder, root) = fake::machine(&[]);
    assert_eq!(of(&root, "cgroup").keys().filter(|key| key.starts_with("cgroup")).count(), 0);
    assert_eq!(of(&root, "cgroup")["collector_success{collector=cgroup}"], 1.0);
}

#[test]
fn a_process_may_use_what_its_group_and_the_machine_leave() {
    let (_folder, root) = fake::machine(fake::NEW);
    fake::put(
        &root,
        &[
            ("/proc/stat", "cpu 1\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\n"),
            ("/proc/meminfo", "MemTotal: 2 kB\n"),
            ("/proc/self/status", "Cpus_allowed:\t7\nCpus_allowed_list:\t0-2\n"),
            ("/proc/self/smaps_rollup", "Rss: 9 kB\nPss:                  3 kB\nSwapPss: 1 kB\n"),
            ("/proc/self/io", "rchar: 1\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 7\n"),
            ("/sys/fs/cgroup/app/web/memory.max", "max\n"),
        ],
    );
    let told = of(&root, "process");
    for (name, value) in [
        ("process_cpu_limit_cores{}", 3.0),
        ("process_memory_limit_bytes{}", 2048.0),
        ("process_proportional_memory_bytes{}", 3072.0),
        ("process_swap_bytes{}", 1024.0),
        ("process_io_bytes{direction=read}", 4096.0),
        ("process_io_bytes{direction=write}", 8192.0),
    ] {
        assert_eq!(told.get(name), Some(&value), "{name}: {told:#?}");
    }
    assert!(told["process_context_switches{kind=voluntary}"] >= 0.0);
    fake::put(
        &root,
        &[("/sys/fs/cgroup/app/cpu.max", "50000 100000\n"), ("/sys/fs/cgroup/app/web/cpu.max", "max 100000\n")],
    );
    assert_eq!(of(&root, "process")["process_cpu_limit_cores{}"], 0.5);
}

const MOUNTS: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
28 27 254:0 /srv /bind rw,relatime - ext4 /dev/vda rw
29 27 8:1 / /data\\040two rw - xfs /dev/sda1 rw
30 27 0:40 / /tmp rw - tmpfs tmpfs rw
31 27 7:0 / /snap/core ro - squashfs /dev/loop0 ro
32 27 0:50 / /mnt/gone rw - nfs4 server:/x rw
33 27 0:60 / /backup ro - ext4 /dev/sdb ro
34 27 0:61 / /empty rw - fuse.none none rw
";

#[test]
fn each_filesystem_with_a_disk_is_told_once_and_a_dead_one_keeps_nobody() {
    let (_folder, root) = fake::machine(&[("/proc/self/mountinfo", MOUNTS)]);
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    // Long for what answers, whatever else the machine does.
    let settings = MetricsSettings { collector_deadline_seconds: 4.0, ..MetricsSettings::default() };
    let filesystems = Filesystems::new(Kernel::below(&root), &settings).unwrap();
    let filesystems = filesystems.asking(Arc::new(move |point: &str| match point {
        "/mnt/gone" => {
            let _ = gate.lock().unwrap().recv();
            None
        }
        "/empty" => Some(Room::quarter(0.0)),
        _ => Some(Room::quarter(400.0)),
    }));
    for _ in 0..2 {
        let mut out = Collected::default();
        filesystems.collect(&mut out).unwrap();
        let told = told(&out.0);
        let root = "device=/dev/vda,fstype=ext4,mountpoint=/";
        let data = "device=/dev/sda1,fstype=xfs,mountpoint=/data two";
        let gone = "device=server:/x,fstype=nfs4,mountpoint=/mnt/gone";
        let backup = "device=/dev/sdb,fstype=ext4,mountpoint=/backup";
        assert_eq!(told[&format!("filesystem_avail_bytes{{{root}}}")], 80.0);
        assert_eq!(told[&format!("filesystem_files_free{{{data}}}")], 60.0);
        assert_eq!(told[&format!("filesystem_readonly{{{backup}}}")], 1.0);
        assert_eq!(told[&format!("filesystem_readonly{{{root}}}")], 0.0);
        assert_eq!(told[&format!("filesystem_device_error{{{gone}}}")], 1.0);
        assert_eq!(told[&format!("filesystem_device_error{{{root}}}")], 0.0);
        let sizes: Vec<_> = told.keys().filter(|key| key.starts_with("filesystem_size_bytes")).collect();
        assert_eq!(sizes.len(), 3, "{sizes:#?}");
    }
    drop(release);
}

#[test]
fn the_real_machine_gives_a_page_with_all_of_it() {
    let families = Collectors::new(&MetricsSettings::default()).unwrap().families();
    let told = told(&families);
    for collector in ["process", "cgroup", "filesystem", "network"] {
        assert_eq!(told[&format!("collector_success{{collector={collector}}}")], 1.0);
    }
    assert!(told["process_cpu_limit_cores{}"] > 0.0 && told["process_memory_limit_bytes{}"] > 1e6);
    assert!(told["process_proportional_memory_bytes{}"] > 1e5, "{told:#?}");
    let mut snapshot = MetricsSnapshot::default();
    snapshot.merge(families);
    assert!(render(&snapshot, Format::OpenMetrics).contains("# UNIT uplifted_ops_process_swap_bytes bytes\n"));
    assert_eq!(format!("{:?}", Collectors::new(&only(&["network", "stores"])).unwrap()), "[\"network\"]");
}
