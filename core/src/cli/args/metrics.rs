//! `metrics` and `generate`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct MetricsOptions {
    /// The exposition format
    #[arg(long, value_name = "FORMAT")]
    pub(in crate::cli) format: Option<MetricsFormat>,
}

/// An exposition format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum MetricsFormat {
    /// Prometheus text, version 0.0.4
    Text,
    /// OpenMetrics 1.0
    Openmetrics,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum MetricsCommand {
    /// Print the service's metrics
    #[command(after_help = "Example:\n  uplifted-ops metrics render --format openmetrics")]
    Render(MetricsOptions),
    /// Show what the metrics of the running service were lately
    #[command(after_help = "\
Each line is a series: its values over the time as a small picture, and the least, mean, greatest and last of them.

Examples:
  uplifted-ops metrics history process_resident_memory_bytes
  uplifted-ops metrics history 'uplifted_requests_*' --label 'status=5*' --function rate --range 30m
  uplifted-ops metrics history process_open_fds --range 2h --step 5m --json")]
    History(HistoryOptions),
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct HistoryOptions {
    /// The name as on the page of metrics; * in it is any text. All when not given
    pub(in crate::cli) metric: Option<String>,
    /// Only the series with this label, such as status=500; * in the value is any text; may be given again
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    pub(in crate::cli) labels: Vec<String>,
    /// How far back, such as 90s, 30m, 2h
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(in crate::cli) range: String,
    /// One value each so often; every sample when not given
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) step: Option<String>,
    /// What to make of the samples
    #[arg(long, value_name = "FUNCTION")]
    pub(in crate::cli) function: Option<Function>,
    /// Over how much time before each value the function reckons; 5m when not given
    #[arg(long, value_name = "TIME", requires = "function")]
    pub(in crate::cli) window: Option<String>,
    /// At most so many series
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(in crate::cli) limit: u32,
}

/// What to make of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Function {
    /// Growth of a counter a second
    Rate,
    /// Growth of a counter in the window
    Increase,
    /// Change of a gauge in the window
    Delta,
    /// The least value
    Min,
    /// The greatest value
    Max,
    /// The mean
    Avg,
    /// Growth of a gauge a second, by the line of least squares
    Slope,
}

impl Function {
    /// Its name in a request.
    pub(in crate::cli) fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Increase => "increase",
            Self::Delta => "delta",
            Self::Min => "min",
            Self::Max => "max",
            Self::Avg => "avg",
            Self::Slope => "slope",
        }
    }
}

fn parse_label(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("write NAME=VALUE, such as status=500".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum GenerateCommand {
    /// Write a prometheus.yml that scrapes this service and loads its alerts
    #[command(after_help = "\
Examples:
  uplifted-ops generate prometheus
  uplifted-ops generate prometheus --write /etc/prometheus --alertmanager 127.0.0.1:9093")]
    Prometheus {
        #[command(flatten)]
        options: GenerateOptions,
        /// Where the service's metrics are; what the settings say when not given
        #[arg(long, value_name = "HOST:PORT")]
        target: Option<String>,
        /// Where an Alertmanager is; none when not given
        #[arg(long, value_name = "HOST:PORT")]
        alertmanager: Option<String>,
    },
    /// Write the alert rules for Prometheus, and the tests of them
    #[command(after_help = "\
Beside the rules lie their tests: promtool test rules uplifted-alerts_test.yml

Examples:
  uplifted-ops generate alerts
  uplifted-ops generate alerts --write /etc/prometheus")]
    Alerts(GenerateOptions),
    /// Write the dashboard for Grafana
    #[command(after_help = "\
Import it in Grafana under Dashboards, New, Import.

Examples:
  uplifted-ops generate grafana --write .")]
    Grafana(GenerateOptions),
}

#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct GenerateOptions {
    /// Write the files into this folder; printed when not given
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) write: Option<PathBuf>,
    /// Replace a file that somebody has changed
    #[arg(long, requires = "write")]
    pub(in crate::cli) force: bool,
}
