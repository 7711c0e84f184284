//! The rules.

/// What the rules of a service depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The job under which Prometheus scrapes the service.
    pub job: String,
    /// Whether the service has databases under our care.
    pub stores: bool,
    /// Whether a check asks a Redis, whose numbers are told then.
    pub redis: bool,
    /// Whether it has places for backups.
    pub backups: bool,
    /// Whether something runs by itself.
    pub jobs: bool,
    /// The collectors of `metrics.collect`.
    pub collectors: Vec<String>,
    /// Past which age of the last complete backup somebody is told, in seconds.
    pub backup_age_seconds: f64,
    /// Past which age of the last backup that was verified in full.
    pub verify_age_seconds: f64,
    /// Past which age of the last backup that a drill restored.
    pub drill_age_seconds: f64,
}

impl Facts {
    /// The job's name as a string of PromQL.
    fn job(&self) -> String {
        format!("job={}", serde_json::Value::from(self.job.as_str()))
    }

    fn collects(&self, name: &str) -> bool {
        self.collectors.iter().any(|collector| collector == name)
    }
}

/// How soon somebody is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Never: it always fires, and what hears it no more tells that alerts do not arrive.
    None,
    /// In working hours.
    Warning,
    /// Now.
    Critical,
}

impl Severity {
    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// An alerting rule, as Prometheus has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The alert's name.
    pub name: String,
    /// When it fires, in PromQL.
    pub expr: String,
    /// For how long that must hold, in seconds.
    pub for_seconds: u32,
    /// For how long it goes on firing after that, in seconds.
    pub keep_firing_seconds: u32,
    /// How soon somebody is to look.
    pub severity: Severity,
    /// What is wrong, in one line. A template of Prometheus.
    pub summary: String,
    /// What to do about it.
    pub description: String,
}

impl Rule {
    fn new(name: &str, minutes: u32, severity: Severity, expr: String, summary: &str, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            expr,
            for_seconds: minutes * 60,
            keep_firing_seconds: 0,
            severity,
            summary: summary.to_owned(),
            description: description.to_owned(),
        }
    }
}

/// Where the filesystems are written: what nobody writes does not fill.
const WRITABLE: &str = "unless on (job, instance, mountpoint) uplifted_ops_filesystem_readonly == 1";

/// The rules of a service, in the order in which they are read best.
pub fn rules(facts: &Facts) -> Vec<Rule> {
    let mut rules = service(facts);
    rules.extend(resources(facts));
    if facts.collects("filesystem") {
        rules.extend(filesystems(facts));
    }
    rules.extend(health(facts));
    if facts.stores && facts.collects("stores") {
        rules.extend(stores(facts));
    }
    if facts.redis && facts.collects("redis") {
        rules.extend(redis(facts));
    }
    if facts.backups && facts.collects("backups") {
        rules.extend(backups(facts));
    }
    if facts.jobs && facts.collects("jobs") {
        rules.extend(jobs(facts));
    }
    rules.push(Rule::new(
        "Watchdog",
        0,
        Severity::None,
        "vector(1)".to_owned(),
        "alerts arrive",
        "Fires always. Send it to something that notices when it stops.",
    ));
    rules
}

/// `ServiceDown` of the service's own name: `UpliftedDown`.
fn down_name(job: &str) -> String {
    let words = job.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name: String = words.map(|word| format!("{}{}", word[..1].to_ascii_uppercase(), &word[1..])).collect();
    // The name of an alert is a label's value; it reads best as one word.
    if name.is_empty() { "ServiceDown".to_owned() } else { format!("{name}Down") }
}

fn service(facts: &Facts) -> Vec<Rule> {
    let job = facts.job();
    let requests = |status: &str, range: &str| {
        format!("sum by (job, instance) (rate(uplifted_requests_total{{{job}{status}}}[{range}]))")
    };
    let failed = ",status=~\"5..\"";
    let share = |range: &str| format!("{} / {}", requests(failed, range), requests("", range));
    let enough = |range: &str, least: u32| {
        format!("sum by (job, instance) (increase(uplifted_requests_total{{{job}}}[{range}])) >= {least}")
    };
    let tool = |name: &str| format!("sum by (job, instance) (rate(uplifted_tool_{name}_total{{{job}}}[5m]))");
    vec![
        Rule::new(
            &down_name(&facts.job),
            1,
            Severity::Critical,
            format!("up{{{job}}} == 0 or absent(up{{{job}}})"),
            "{{ $labels.job }}{{ with $labels.instance }} on {{ . }}{{ end }} is down",
            "Prometheus gets no metrics: the service has stopped, does not answer, or is not in the scrape configuration.",
        ),
        Rule::new(
            "ServiceRestarting",
            0,
            Severity::Warning,
            format!("changes(process_start_time_seconds{{{job}}}[30m]) > 3"),
            "{{ $labels.instance }} has started {{ $value }} times in half an hour",
            "Look at the log and at the exit status of the last runs: uplifted-ops status, uplifted-ops journal.",
        ),
        Rule {
            keep_firing_seconds: 300,
            ..Rule::new(
                "HighErrorRate",
                5,
                Severity::Warning,
                format!("({}) > 0.1\nand\n{}", share("5m"), enough("5m", 10)),
                "{{ $value | humanizePercentage }} of the requests on {{ $labels.instance }} fail",
                "More than a tenth of at least ten requests in five minutes were answered with a status of 500 to 599.",
            )
        },
        Rule::new(
            "ErrorBudgetBurning",
            2,
            Severity::Critical,
            format!("({}) > 0.0144\nand\n({}) > 0.0144\nand\n{}", share("1h"), share("5m"), enough("1h", 100)),
            "{{ $value | humanizePercentage }} of the requests of an hour on {{ $labels.instance }} have failed, and they go on failing",
            "At this rate the errors that a goal of 99.9 % allows for a month are used up in two days.",
        ),
        Rule::new(
            "SlowRequests",
            10,
            Severity::Warning,
            format!(
                "histogram_quantile(0.95, sum by (job, instance, le) \
                 (rate(uplifted_requests_duration_seconds_bucket{{{job}}}[5m]))) > 2\nand\n{}",
                enough("5m", 10)
            ),
            "one request in twenty on {{ $labels.instance }} takes longer than {{ $value | humanizeDuration }}",
            "Look for what all slow requests wait for: the database, a lock, another service, the processor.",
        ),
        Rule {
            keep_firing_seconds: 300,
            ..Rule::new(
                "HighToolErrorRatio",
                5,
                Severity::Warning,
                format!("{} / {} > 0.2", tool("errors"), tool("calls")),
                "{{ $value | humanizePercentage }} of the tool calls on {{ $labels.instance }} fail",
                "sum by (tool) (rate(uplifted_tool_errors_total[5m])) says which.",
            )
        },
    ]
}

fn resources(facts: &Facts) -> Vec<Rule> {
    let job = facts.job();
    let mut rules = Vec::new();
    if facts.collects("process") {
        rules.push(Rule::new(
            "HighCPUUsage",
            5,
            Severity::Warning,
            format!(
                "rate(process_cpu_seconds_total{{{job}}}[5m])\n  / on (job, instance) uplifted_ops_process_cpu_limit_cores > 0.8"
            ),
            "{{ $labels.instance }} uses {{ $value | humanizePercentage }} of the CPU time that it may have",
            "Of the cores that it may run on, or of the quota of its control group. Give it more, or find what is busy.",
        ));
        rules.push(Rule::new(
            "HighMemoryUsage",
            5,
            Severity::Warning,
            format!(
                "process_resident_memory_bytes{{{job}}}\n  / on (job, instance) uplifted_ops_process_memory_limit_bytes > 0.9"
            ),
            "{{ $labels.instance }} uses {{ $value | humanizePercentage }} of the memory that it may have",
            "Past the limit the kernel kills it. Give it more, or find what grows.",
        ));
        rules.push(Rule::new(
            "MemoryWillRunOut",
            60,
            Severity::Warning,
            format!(
                "predict_linear(process_resident_memory_bytes{{{job}}}[6h], 86400)\n  > on (job, instance) \
                 uplifted_ops_process_memory_limit_bytes\nand\nprocess_resident_memory_bytes{{{job}}}\n  / on (job, instance) \
                 uplifted_ops_process_memory_limit_bytes > 0.3"
            ),
            "{{ $labels.instance }} will have used up its memory within a day",
            "It has grown steadily for six hours: probably a leak.",
        ));
    }
    if facts.collects("cgroup") {
        rules.push(Rule::new(
            "CPUThrottled",
            15,
            Severity::Warning,
            format!(
                "rate(uplifted_ops_cgroup_cpu_throttled_periods_total{{{job}}}[5m])\n  / \
                 rate(uplifted_ops_cgroup_cpu_periods_total{{{job}}}[5m]) > 0.25"
            ),
            "{{ $labels.instance }} is made to wait in {{ $value | humanizePercentage }} of the periods of its CPU quota",
            "Its requests stand still meanwhile. Raise the quota.",
        ));
        rules.push(Rule::new(
            "OutOfMemoryKill",
            0,
            Severity::Critical,
            format!("increase(uplifted_ops_cgroup_memory_events_total{{{job},event=\"oom_kill\"}}[10m]) > 0"),
            "the kernel has killed a process of {{ $labels.instance }} for want of memory",
            "Raise the limit of its control group, or find what grows.",
        ));
    }
    rules.push(Rule::new(
        "TooManyOpenFiles",
        5,
        Severity::Warning,
        format!("process_open_fds{{{job}}} / process_max_fds{{{job}}} > 0.8"),
        "{{ $labels.instance }} has {{ $value | humanizePercentage }} of its file descriptors open",
        "Past the limit every new connection fails. Find the leak, or raise the limit (LimitNOFILE).",
    ));
    rules
}

fn filesystems(facts: &Facts) -> Vec<Rule> {
    let job = facts.job();
    let of = |name: &str| format!("uplifted_ops_filesystem_{name}{{{job}}}");
    let [avail, free, size] = ["avail_bytes", "free_bytes", "size_bytes"].map(of);
    // As df and the check `disk` have it: what is kept for root is neither used nor free.
    let share = format!("{avail} / ({size} - {free} + {avail})");
    vec![
        Rule::new(
            "LowDiskSpace",
            5,
            Severity::Warning,
            format!("(\n  {share} < 0.1\n  and {avail} < 100 * 1024 * 1024 * 1024\n)\n{WRITABLE}"),
            "{{ $labels.mountpoint }} on {{ $labels.instance }} has {{ $value | humanizePercentage }} free",
            "Free space or enlarge it. With 100 GiB free no share is too small.",
        ),
        Rule::new(
            "DiskWillFill",
            60,
            Severity::Warning,
            format!("(\n  predict_linear({avail}[6h], 86400) < 0\n  and {share} < 0.5\n)\n{WRITABLE}"),
            "{{ $labels.mountpoint }} on {{ $labels.instance }} will be full within a day",
            "It has filled steadily for six hours. Find what writes.",
        ),
        Rule::new(
            "LowInodes",
            5,
            Severity::Warning,
            format!("{} / {} < 0.1\n{WRITABLE}", of("files_free"), of("files")),
            "{{ $labels.mountpoint }} on {{ $labels.instance }} has {{ $value | humanizePercentage }} of its inodes free",
            "With none left no file can be made, whatever space there is. Remove small files.",
        ),
        Rule::new(
            "FilesystemNotAnswering",
            5,
            Severity::Warning,
            format!("{} == 1", of("device_error")),
            "{{ $labels.mountpoint }} on {{ $labels.instance }} does not answer",
            "Whoever reads or writes there hangs. Look at the server of {{ $labels.device }}.",
        ),
        Rule::new(
            "DiskMetricsMissing",
            10,
            Severity::Warning,
            format!("absent({}) and on () up{{{job}}} == 1", of("avail_bytes")),
            "nothing is known of the disks of {{ $labels.job }}",
            "No alert on disk space can fire. Look at metrics.collect and the filters in ops.toml.",
        ),
    ]
}

fn health(facts: &Facts) -> Vec<Rule> {
    let job = facts.job();
    let mut rules = vec![
        Rule::new(
            "CheckFailing",
            5,
            Severity::Critical,
            format!("uplifted_ops_check_status{{{job},status=\"fail\"}} == 1"),
            "the check {{ $labels.check }} fails on {{ $labels.instance }}",
            "uplifted-ops health says why, and what to do.",
        ),
        Rule::new(
            "CheckWarning",
            60,
            Severity::Warning,
            format!("uplifted_ops_check_status{{{job},status=\"warn\"}} == 1"),
            "the check {{ $labels.check }} has warned for an hour on {{ $labels.instance }}",
            "uplifted-ops health says why, and what to do.",
        ),
        Rule::new(
            "CardinalityOverflow",
            0,
            Severity::Warning,
            format!("increase(uplifted_ops_metrics_overflow_total{{{job}}}[15m]) > 0"),
            "the metric {{ $labels.family }} on {{ $labels.instance }} has too many series",
            "What does not fit goes into one series. Do not label by identifiers, addresses or whole paths.",
        ),
    ];
    if facts.collectors.iter().any(|name| ["process", "cgroup", "filesystem", "network"].contains(&name.as_str())) {
        rules.push(Rule::new(
            "CollectorFailing",
            15,
            Severity::Warning,
            format!("uplifted_ops_collector_success{{{job}}} == 0"),
            "the collector {{ $labels.collector }} fails on {{ $labels.instance }}",
            "Its numbers are missing, and alerts on them cannot fire.",
        ));
    }
    rules
}

fn stores(facts: &Facts) -> Vec<Rule> {
    let job = facts.job();
    vec![
        Rule::new(
            "DatabaseNotAnswering",
            5,
            Severity::Critical,
            format!("uplifted_ops_store_up{{{job}}} == 0"),
            "the database {{ $labels.store }} of {{ $labels.instance }} does not answer",
            "uplifted-ops store stats says why.",
        ),
        Rule::new(
            "DatabaseLogLarge",
            15,
            Severity::Warning,
            // A server keeps a log of a size of its own, which it tells.
            format!(
                "uplifted_ops_store_log_bytes{{{job}}} > 1024 * 1024 * 1024 unless \
                 uplifted_ops_store_log_bytes{{{job}}} < 2 * uplifted_ops_store_log_target_bytes{{{job}}}"
            ),
            "the log of the database {{ $labels.store }} is {{ $value | humanize1024 }}B",
            "End long transactions and readers that keep it from being checkpointed.",
        ),
    ]
}

fn redis(facts: &Facts) -> Vec<Rule> {
    let job = facts.job();
    vec![
        Rule::new(
            "RedisNotAnswering",
            5,
            Severity::Critical,
            format!("uplifted_ops_redis_up{{{job}}} == 0"),
            "the Redis {{ $labels.redis }} of {{ $labels.instance }} does not answer",
            "uplifted-ops health check says why.",
        ),
        Rule::new(
            "RedisMemoryFull",
            15,
            Severity::Warning,
            // A limit of 0 is none.
            format!(
                "uplifted_ops_redis_memory_used_bytes{{{job}}} / (uplifted_ops_redis_memory_max_bytes{{{job}}} > 0) > 0.9"
            ),
            "the Redis {{ $labels.redis }} uses {{ $value | humanizePercentage }} of its memory",
            "Past its limit it throws keys out or refuses writes, as maxmemory-policy says. Raise maxmemory, or let keys expire.",
        ),
        Rule::new(
            "RedisReplicaCutOff",
            5,
            Severity::Warning,
            format!("uplifted_ops_redis_primary_link_up{{{job}}} == 0"),
            "the Redis {{ $labels.redis }} does not hear its primary",
            "What it answers grows old. See that its primary runs, and that the two reach each other.",
        ),
    ]
}

/// The age in the value, where a time of 0 says that it never was.
const AGE: &str = "{{ if gt $value 1e9 }}never{{ else }}{{ $value | humanizeDuration }} ago{{ end }}";

fn backups(facts: &Facts) -> Vec<Rule> {
    let job = facts.job();
    let older = |name: &str, seconds: f64| {
        format!("time() - uplifted_ops_backup_{name}_timestamp_seconds{{{job}}} > {seconds}")
    };
    vec![
        Rule::new(
            "BackupTooOld",
            10,
            Severity::Critical,
            older("last_success", facts.backup_age_seconds),
            &format!("the last complete backup of {{{{ $labels.instance }}}} was made {AGE}"),
            "uplifted-ops journal --operation backup.create says what became of the last ones.",
        ),
        Rule::new(
            "BackupNotVerified",
            10,
            Severity::Warning,
            older("last_verified", facts.verify_age_seconds),
            &format!("a backup of {{{{ $labels.instance }}}} was last verified in full {AGE}"),
            "What was not read back is not yet a backup: uplifted-ops backup verify latest, or backup.verify_schedule.",
        ),
        Rule::new(
            "RestoreNotRehearsed",
            10,
            Severity::Warning,
            format!(
                "time() - max by (job, instance, target) \
                 (uplifted_ops_backup_last_verified_restore_timestamp_seconds{{{job}}}) > {}",
                facts.drill_age_seconds
            ),
            &format!("a backup in {{{{ $labels.target }}}} was last restored as a trial {AGE}"),
            "What was never restored is not yet trusted: uplifted-ops backup drill, or backup.drill_schedule.",
        ),
        Rule::new(
            "BackupPartial",
            0,
            Severity::Warning,
            format!("increase(uplifted_ops_backups_total{{{job},outcome=~\"partial|failed\"}}[1h]) > 0"),
            "a backup of {{ $labels.instance }} is {{ $labels.outcome }}",
            "uplifted-ops journal --operation backup.create names what was not read.",
        ),
    ]
}

fn jobs(facts: &Facts) -> Vec<Rule> {
    let job = facts.job();
    // The label of our own: Prometheus keeps it as `exported_job`, since `job` is its own.
    vec![
        Rule::new(
            "JobFailed",
            0,
            Severity::Warning,
            format!(
                "increase(uplifted_ops_job_runs_total{{{job},outcome=~\"failed|timed_out|interrupted|unhealthy\"}}[1h]) > 0"
            ),
            "the job {{ $labels.exported_job }} on {{ $labels.instance }} is {{ $labels.outcome }}",
            "uplifted-ops schedule says how the last run ended.",
        ),
        Rule::new(
            "JobOverdue",
            10,
            Severity::Warning,
            format!("time() - uplifted_ops_job_next_run_timestamp_seconds{{{job}}} > 3600"),
            "the job {{ $labels.exported_job }} on {{ $labels.instance }} was due {{ $value | humanizeDuration }} ago",
            "No process of the service runs jobs: look at schedule.enabled, and at who leads (uplifted-ops schedule).",
        ),
    ]
}
