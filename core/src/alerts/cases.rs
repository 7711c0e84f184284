//! When each rule fires, and when it does not: cases for `promtool test rules`.

use super::rules::{Facts, rules};

/// What a series is over time, in the notation of promtool: `0+3x80` begins at 0 and grows by 3, 80 times, each minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Its name and labels.
    pub series: String,
    /// Its values, one each minute.
    pub values: String,
}

/// A case: with these series, at that minute, so many alerts of the rule fire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The rule.
    pub alert: String,
    /// What Prometheus has.
    pub input: Vec<Series>,
    /// When it is looked at.
    pub minute: u32,
    /// How many alerts fire.
    pub firing: u32,
}

/// A case as it is written below: what it shows; the rule, where `Down` is that of the service; the series, `J` standing for the
/// labels of the scraped instance; the minute; how many fire.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], u32, u32);

const REDIS_USED: (&str, &str) = ("uplifted_ops_redis_memory_used_bytes{J,redis=\"c\"}", "9.5e8x30");
const REDIS_LIMIT: (&str, &str) = ("uplifted_ops_redis_memory_max_bytes{J,redis=\"c\"}", "1e9x30");
const REDIS_NO_LIMIT: (&str, &str) = ("uplifted_ops_redis_memory_max_bytes{J,redis=\"c\"}", "0x30");

const ROWS: &[Row] = &[
    ("a target that fails for a minute is down", "Down", &[("up{J}", "1 1 1 0x10")], 5, 1),
    ("a target that fails once is not", "Down", &[("up{J}", "1 1 1 0 1x10")], 5, 0),
    ("a target that is gone from discovery is down", "Down", &[("up{job=\"other\"}", "1x20")], 5, 1),
    (
        "four restarts in half an hour are told",
        "ServiceRestarting",
        &[("process_start_time_seconds{J}", "1 2 3 4 5x20")],
        10,
        1,
    ),
    ("an upgrade is not", "ServiceRestarting", &[("process_start_time_seconds{J}", "1x5 2x20")], 10, 0),
    (
        "a quarter of the requests over three statuses fires once",
        "HighErrorRate",
        &[
            ("uplifted_requests_total{J,status=\"200\"}", "0+9x60"),
            ("uplifted_requests_total{J,status=\"500\"}", "0+1x60"),
            ("uplifted_requests_total{J,status=\"502\"}", "0+1x60"),
            ("uplifted_requests_total{J,status=\"503\"}", "0+1x60"),
        ],
        15,
        1,
    ),
    (
        "one of a hundred at a high rate is silent",
        "HighErrorRate",
        &[
            ("uplifted_requests_total{J,status=\"200\"}", "0+1188x60"),
            ("uplifted_requests_total{J,status=\"500\"}", "0+12x60"),
        ],
        15,
        0,
    ),
    (
        "one failed request of one is silent",
        "HighErrorRate",
        &[("uplifted_requests_total{J,status=\"500\"}", "0x9 1x30")],
        16,
        0,
    ),
    (
        "without requests nothing is said",
        "HighErrorRate",
        &[("uplifted_requests_total{J,status=\"500\"}", "7x60")],
        15,
        0,
    ),
    (
        "two of a hundred for an hour burn the budget",
        "ErrorBudgetBurning",
        &[
            ("uplifted_requests_total{J,status=\"200\"}", "0+98x120"),
            ("uplifted_requests_total{J,status=\"500\"}", "0+2x120"),
        ],
        100,
        1,
    ),
    (
        "errors that are over do not",
        "ErrorBudgetBurning",
        &[
            ("uplifted_requests_total{J,status=\"200\"}", "0+98x120"),
            ("uplifted_requests_total{J,status=\"500\"}", "0+2x60 120x60"),
        ],
        100,
        0,
    ),
    (
        "requests of three seconds are slow",
        "SlowRequests",
        &[
            ("uplifted_requests_total{J,status=\"200\"}", "0+60x60"),
            ("uplifted_requests_duration_seconds_bucket{J,le=\"1.0\"}", "0x60"),
            ("uplifted_requests_duration_seconds_bucket{J,le=\"5.0\"}", "0+60x60"),
            ("uplifted_requests_duration_seconds_bucket{J,le=\"+Inf\"}", "0+60x60"),
        ],
        30,
        1,
    ),
    (
        "a slow one in a hundred is not told",
        "SlowRequests",
        &[
            ("uplifted_requests_total{J,status=\"200\"}", "0+100x60"),
            ("uplifted_requests_duration_seconds_bucket{J,le=\"1.0\"}", "0+99x60"),
            ("uplifted_requests_duration_seconds_bucket{J,le=\"5.0\"}", "0+100x60"),
            ("uplifted_requests_duration_seconds_bucket{J,le=\"+Inf\"}", "0+100x60"),
        ],
        30,
        0,
    ),
    (
        "tools that fail every second time",
        "HighToolErrorRatio",
        &[
            ("uplifted_tool_calls_total{J,tool=\"a\"}", "0+10x60"),
            ("uplifted_tool_errors_total{J,tool=\"a\"}", "0+5x60"),
        ],
        15,
        1,
    ),
    (
        "tools that fail now and then",
        "HighToolErrorRatio",
        &[
            ("uplifted_tool_calls_total{J,tool=\"a\"}", "0+10x60"),
            ("uplifted_tool_errors_total{J,tool=\"a\"}", "0+1x60"),
        ],
        15,
        0,
    ),
    (
        "nine tenths of two cores are a lot",
        "HighCPUUsage",
        &[("process_cpu_seconds_total{J}", "0+108x60"), ("uplifted_ops_process_cpu_limit_cores{J}", "2x60")],
        15,
        1,
    ),
    (
        "much CPU time long ago is none now",
        "HighCPUUsage",
        &[("process_cpu_seconds_total{J}", "5000x60"), ("uplifted_ops_process_cpu_limit_cores{J}", "2x60")],
        15,
        0,
    ),
    (
        "a core of eight is little",
        "HighCPUUsage",
        &[("process_cpu_seconds_total{J}", "0+60x60"), ("uplifted_ops_process_cpu_limit_cores{J}", "8x60")],
        15,
        0,
    ),
    (
        "memory near the limit",
        "HighMemoryUsage",
        &[("process_resident_memory_bytes{J}", "95x60"), ("uplifted_ops_process_memory_limit_bytes{J}", "100x60")],
        15,
        1,
    ),
    (
        "memory far from it",
        "HighMemoryUsage",
        &[("process_resident_memory_bytes{J}", "50x60"), ("uplifted_ops_process_memory_limit_bytes{J}", "100x60")],
        15,
        0,
    ),
    (
        "a leak that reaches the limit tomorrow",
        "MemoryWillRunOut",
        &[
            ("process_resident_memory_bytes{J}", "400+1x500"),
            ("uplifted_ops_process_memory_limit_bytes{J}", "1000x500"),
        ],
        490,
        1,
    ),
    (
        "memory that stays",
        "MemoryWillRunOut",
        &[("process_resident_memory_bytes{J}", "900x500"), ("uplifted_ops_process_memory_limit_bytes{J}", "1000x500")],
        490,
        0,
    ),
    (
        "a quota that is hit in half of the periods",
        "CPUThrottled",
        &[
            ("uplifted_ops_cgroup_cpu_throttled_periods_total{J}", "0+300x60"),
            ("uplifted_ops_cgroup_cpu_periods_total{J}", "0+600x60"),
        ],
        30,
        1,
    ),
    (
        "a quota that is hit now and then",
        "CPUThrottled",
        &[
            ("uplifted_ops_cgroup_cpu_throttled_periods_total{J}", "0+6x60"),
            ("uplifted_ops_cgroup_cpu_periods_total{J}", "0+600x60"),
        ],
        30,
        0,
    ),
    (
        "a kill",
        "OutOfMemoryKill",
        &[("uplifted_ops_cgroup_memory_events_total{J,event=\"oom_kill\"}", "1x5 2x20")],
        10,
        1,
    ),
    (
        "kills of yesterday",
        "OutOfMemoryKill",
        &[("uplifted_ops_cgroup_memory_events_total{J,event=\"oom_kill\"}", "7x30")],
        20,
        0,
    ),
    (
        "a limit that is only touched",
        "OutOfMemoryKill",
        &[("uplifted_ops_cgroup_memory_events_total{J,event=\"max\"}", "0+5x30")],
        20,
        0,
    ),
    ("many files", "TooManyOpenFiles", &[("process_open_fds{J}", "900x30"), ("process_max_fds{J}", "1000x30")], 15, 1),
    ("few files", "TooManyOpenFiles", &[("process_open_fds{J}", "90x30"), ("process_max_fds{J}", "1e18x30")], 15, 0),
    (
        "a disk with a twentieth free",
        "LowDiskSpace",
        &[
            ("uplifted_ops_filesystem_avail_bytes{J,mountpoint=\"/\"}", "5e8x30"),
            ("uplifted_ops_filesystem_free_bytes{J,mountpoint=\"/\"}", "5e8x30"),
            ("uplifted_ops_filesystem_size_bytes{J,mountpoint=\"/\"}", "1e10x30"),
            ("uplifted_ops_filesystem_readonly{J,mountpoint=\"/\"}", "0x30"),
        ],
        15,
        1,
    ),
    (
        "an image that is always full, and a large disk with enough",
        "LowDiskSpace",
        &[
            ("uplifted_ops_filesystem_avail_bytes{J,mountpoint=\"/iso\"}", "0x30"),
            ("uplifted_ops_filesystem_free_bytes{J,mountpoint=\"/iso\"}", "0x30"),
            ("uplifted_ops_filesystem_size_bytes{J,mountpoint=\"/iso\"}", "1e8x30"),
            ("uplifted_ops_filesystem_readonly{J,mountpoint=\"/iso\"}", "1x30"),
            ("uplifted_ops_filesystem_avail_bytes{J,mountpoint=\"/big\"}", "2e11x30"),
            ("uplifted_ops_filesystem_free_bytes{J,mountpoint=\"/big\"}", "2e11x30"),
            ("uplifted_ops_filesystem_size_bytes{J,mountpoint=\"/big\"}", "1e13x30"),
            ("uplifted_ops_filesystem_readonly{J,mountpoint=\"/big\"}", "0x30"),
        ],
        15,
        0,
    ),
    (
        "a disk that fills",
        "DiskWillFill",
        &[
            ("uplifted_ops_filesystem_avail_bytes{J,mountpoint=\"/\"}", "1000-1x500"),
            ("uplifted_ops_filesystem_free_bytes{J,mountpoint=\"/\"}", "1000-1x500"),
            ("uplifted_ops_filesystem_size_bytes{J,mountpoint=\"/\"}", "3000x500"),
            ("uplifted_ops_filesystem_readonly{J,mountpoint=\"/\"}", "0x500"),
        ],
        490,
        1,
    ),
    (
        "a disk that does not",
        "DiskWillFill",
        &[
            ("uplifted_ops_filesystem_avail_bytes{J,mountpoint=\"/\"}", "1000x500"),
            ("uplifted_ops_filesystem_free_bytes{J,mountpoint=\"/\"}", "1000x500"),
            ("uplifted_ops_filesystem_size_bytes{J,mountpoint=\"/\"}", "3000x500"),
        ],
        490,
        0,
    ),
    (
        "many small files",
        "LowInodes",
        &[
            ("uplifted_ops_filesystem_files_free{J,mountpoint=\"/\"}", "5x30"),
            ("uplifted_ops_filesystem_files{J,mountpoint=\"/\"}", "100x30"),
        ],
        15,
        1,
    ),
    (
        "few files on a disk",
        "LowInodes",
        &[
            ("uplifted_ops_filesystem_files_free{J,mountpoint=\"/\"}", "95x30"),
            ("uplifted_ops_filesystem_files{J,mountpoint=\"/\"}", "100x30"),
        ],
        15,
        0,
    ),
    (
        "a server that is gone",
        "FilesystemNotAnswering",
        &[("uplifted_ops_filesystem_device_error{J,mountpoint=\"/nfs\"}", "1x30")],
        15,
        1,
    ),
    (
        "one that answers",
        "FilesystemNotAnswering",
        &[("uplifted_ops_filesystem_device_error{J,mountpoint=\"/nfs\"}", "0x30")],
        15,
        0,
    ),
    ("no number of any disk", "DiskMetricsMissing", &[("up{J}", "1x30")], 20, 1),
    ("no number of anything is another alert", "DiskMetricsMissing", &[("up{J}", "0x30")], 20, 0),
    (
        "numbers",
        "DiskMetricsMissing",
        &[("up{J}", "1x30"), ("uplifted_ops_filesystem_avail_bytes{J,mountpoint=\"/\"}", "1x30")],
        20,
        0,
    ),
    (
        "a check that fails, once for itself",
        "CheckFailing",
        &[
            ("uplifted_ops_check_status{J,check=\"disk\",status=\"fail\"}", "1x30"),
            ("uplifted_ops_check_status{J,check=\"disk\",status=\"pass\"}", "0x30"),
            ("uplifted_ops_check_status{J,check=\"api\",status=\"fail\"}", "0x30"),
        ],
        15,
        1,
    ),
    (
        "a check that failed once",
        "CheckFailing",
        &[("uplifted_ops_check_status{J,check=\"disk\",status=\"fail\"}", "0x9 1 0x30")],
        15,
        0,
    ),
    (
        "a warning of an hour",
        "CheckWarning",
        &[("uplifted_ops_check_status{J,check=\"disk\",status=\"warn\"}", "1x100")],
        90,
        1,
    ),
    (
        "a warning of half an hour",
        "CheckWarning",
        &[("uplifted_ops_check_status{J,check=\"disk\",status=\"warn\"}", "1x100")],
        40,
        0,
    ),
    (
        "series that did not fit",
        "CardinalityOverflow",
        &[("uplifted_ops_metrics_overflow_total{J,family=\"x\"}", "1+5x30")],
        10,
        1,
    ),
    (
        "series that once did not fit",
        "CardinalityOverflow",
        &[("uplifted_ops_metrics_overflow_total{J,family=\"x\"}", "9x60")],
        40,
        0,
    ),
    (
        "a collector that gives nothing",
        "CollectorFailing",
        &[("uplifted_ops_collector_success{J,collector=\"network\"}", "0x30")],
        20,
        1,
    ),
    (
        "one that does",
        "CollectorFailing",
        &[("uplifted_ops_collector_success{J,collector=\"network\"}", "1x30")],
        20,
        0,
    ),
    ("a database that is gone", "DatabaseNotAnswering", &[("uplifted_ops_store_up{J,store=\"main\"}", "0x30")], 15, 1),
    ("one that is there", "DatabaseNotAnswering", &[("uplifted_ops_store_up{J,store=\"main\"}", "1x30")], 15, 0),
    (
        "a log of two gigabytes",
        "DatabaseLogLarge",
        &[("uplifted_ops_store_log_bytes{J,store=\"main\"}", "2e9x30")],
        20,
        1,
    ),
    (
        "a log of four megabytes",
        "DatabaseLogLarge",
        &[("uplifted_ops_store_log_bytes{J,store=\"main\"}", "4e6x30")],
        20,
        0,
    ),
    (
        "a log of two gigabytes of a server that keeps so much",
        "DatabaseLogLarge",
        &[
            ("uplifted_ops_store_log_bytes{J,store=\"main\"}", "2e9x30"),
            ("uplifted_ops_store_log_target_bytes{J,store=\"main\"}", "1.5e9x30"),
        ],
        20,
        0,
    ),
    ("a Redis that is gone", "RedisNotAnswering", &[("uplifted_ops_redis_up{J,redis=\"c\"}", "0x30")], 15, 1),
    ("one that is there", "RedisNotAnswering", &[("uplifted_ops_redis_up{J,redis=\"c\"}", "1x30")], 15, 0),
    ("a Redis that is nearly full", "RedisMemoryFull", &[REDIS_USED, REDIS_LIMIT], 20, 1),
    ("one without a limit", "RedisMemoryFull", &[REDIS_USED, REDIS_NO_LIMIT], 20, 0),
    ("a replica by itself", "RedisReplicaCutOff", &[("uplifted_ops_redis_primary_link_up{J}", "0x30")], 15, 1),
    ("one that follows", "RedisReplicaCutOff", &[("uplifted_ops_redis_primary_link_up{J}", "1x30")], 15, 0),
    // The clock of promtool begins at 0: what was before is below it.
    (
        "the last backup is two days old",
        "BackupTooOld",
        &[("uplifted_ops_backup_last_success_timestamp_seconds{J}", "-100000x30")],
        20,
        1,
    ),
    (
        "the last backup is of this day",
        "BackupTooOld",
        &[("uplifted_ops_backup_last_success_timestamp_seconds{J}", "60x30")],
        20,
        0,
    ),
    (
        "verified long ago",
        "BackupNotVerified",
        &[("uplifted_ops_backup_last_verified_timestamp_seconds{J}", "-700000x30")],
        20,
        1,
    ),
    (
        "verified lately",
        "BackupNotVerified",
        &[("uplifted_ops_backup_last_verified_timestamp_seconds{J}", "60x30")],
        20,
        0,
    ),
    (
        "not restored for long from one of two targets",
        "RestoreNotRehearsed",
        &[
            (
                "uplifted_ops_backup_last_verified_restore_timestamp_seconds{J,level=\"proven\",target=\"a\"}",
                "-4000000x30",
            ),
            ("uplifted_ops_backup_last_verified_restore_timestamp_seconds{J,level=\"proven\",target=\"b\"}", "60x30"),
            (
                "uplifted_ops_backup_last_verified_restore_timestamp_seconds{J,level=\"sealed\",target=\"b\"}",
                "-4000000x30",
            ),
        ],
        20,
        1,
    ),
    (
        "a backup that lacks files",
        "BackupPartial",
        &[("uplifted_ops_backups_total{J,outcome=\"partial\"}", "0x5 1x20")],
        10,
        1,
    ),
    (
        "one that lacked files yesterday",
        "BackupPartial",
        &[("uplifted_ops_backups_total{J,outcome=\"partial\"}", "1x100")],
        90,
        0,
    ),
    ("complete ones", "BackupPartial", &[("uplifted_ops_backups_total{J,outcome=\"complete\"}", "0+1x30")], 10, 0),
    (
        "a job that took too long",
        "JobFailed",
        &[("uplifted_ops_job_runs_total{J,exported_job=\"x\",outcome=\"timed_out\"}", "0x5 1x20")],
        10,
        1,
    ),
    (
        "jobs that are done",
        "JobFailed",
        &[("uplifted_ops_job_runs_total{J,exported_job=\"x\",outcome=\"done\"}", "0+1x20")],
        10,
        0,
    ),
    (
        "a job that nobody runs",
        "JobOverdue",
        &[("uplifted_ops_job_next_run_timestamp_seconds{J,exported_job=\"x\"}", "-7200x30")],
        20,
        1,
    ),
    (
        "a job that runs soon",
        "JobOverdue",
        &[("uplifted_ops_job_next_run_timestamp_seconds{J,exported_job=\"x\"}", "90000x30")],
        20,
        0,
    ),
    ("alerts arrive", "Watchdog", &[], 1, 1),
];

/// The cases of the rules that this service has.
pub fn cases(facts: &Facts) -> Vec<Case> {
    let rules = rules(facts);
    let down = rules.first().map(|rule| rule.name.clone()).unwrap_or_default();
    let instance = format!("job={},instance=\"a:9464\"", serde_json::Value::from(facts.job.as_str()));
    let filled = |text: &str| text.replace("{J}", &format!("{{{instance}}}")).replace("{J,", &format!("{{{instance},"));
    let rows = ROWS.iter().map(|(name, alert, input, minute, firing)| Case {
        name: (*name).to_owned(),
        alert: if *alert == "Down" { down.clone() } else { (*alert).to_owned() },
        input: input
            .iter()
            .map(|(series, values)| Series { series: filled(series), values: (*values).to_owned() })
            .collect(),
        minute: *minute,
        firing: *firing,
    });
    rows.filter(|case| rules.iter().any(|rule| rule.name == case.alert)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_seen_to_fire_and_to_be_silent() {
        let facts = Facts {
            job: "uplifted".to_owned(),
            stores: true,
            redis: true,
            backups: true,
            jobs: true,
            collectors: crate::config::COLLECTORS.map(str::to_owned).to_vec(),
            backup_age_seconds: 26.0 * 3600.0,
            verify_age_seconds: 8.0 * 86_400.0,
            drill_age_seconds: 35.0 * 86_400.0,
        };
        let (rules, cases) = (rules(&facts), cases(&facts));
        for rule in &rules {
            let of_rule = || cases.iter().filter(|case| case.alert == rule.name);
            assert!(of_rule().any(|case| case.firing > 0), "{} never fires", rule.name);
            let always = ["Watchdog", "RestoreNotRehearsed"].contains(&rule.name.as_str());
            assert!(always || of_rule().any(|case| case.firing == 0), "{} is never silent", rule.name);
        }
        assert_eq!(cases.len(), ROWS.len(), "a case is of no rule");
        let mut names: Vec<_> = rules.iter().map(|rule| &rule.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), rules.len());
        let bare = Facts { stores: false, redis: false, backups: false, jobs: false, collectors: Vec::new(), ..facts };
        assert!(
            super::rules(&bare)
                .iter()
                .all(|rule| { ["Disk", "Backup", "Redis"].iter().all(|word| !rule.name.contains(word)) })
        );
    }
}
