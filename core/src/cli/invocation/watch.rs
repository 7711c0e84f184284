//! `metrics` and `generate`.

use serde_json::Value;

use super::{Invocation, Request, absolute, seconds};
use crate::cli::args::{
    GenerateCommand, GenerateOptions, HistoryOptions, MetricsCommand, MetricsFormat, MetricsOptions,
};
use crate::cli::render;
use crate::error::Result;

impl Invocation {
    pub(super) fn of_metrics(command: &MetricsCommand) -> Result<Self> {
        Ok(match command {
            MetricsCommand::Render(MetricsOptions { format }) => {
                let format = format.map(|format| match format {
                    MetricsFormat::Text => "text",
                    MetricsFormat::Openmetrics => "openmetrics",
                });
                Self::new("metrics.render", Request::new().maybe("format", format).done(), render::health::metrics)
            }
            MetricsCommand::History(options) => {
                Self::new("metrics.history", history(options)?, render::history::history)
            }
        })
    }

    pub(super) fn of_generate(command: &GenerateCommand) -> Result<Self> {
        Ok(match command {
            GenerateCommand::Prometheus { options, target, alertmanager } => {
                let request = generate(options)?
                    .maybe("target", target.as_deref())
                    .maybe("alertmanager", alertmanager.as_deref());
                Self::new("generate.prometheus", request.done(), render::generate::files)
            }
            GenerateCommand::Alerts(options) => {
                Self::new("generate.alerts", generate(options)?.done(), render::generate::files)
            }
            GenerateCommand::Grafana(options) => {
                Self::new("generate.grafana", generate(options)?.done(), render::generate::files)
            }
        })
    }
}

fn history(options: &HistoryOptions) -> Result<Value> {
    let time = |text: &Option<String>| text.as_deref().map(seconds).transpose();
    Ok(Request::new()
        .maybe("metric", options.metric.as_deref())
        .maybe("labels", (!options.labels.is_empty()).then(|| options.labels.clone()))
        .with("range_seconds", seconds(&options.range)?)
        .maybe("step_seconds", time(&options.step)?)
        .maybe("function", options.function.map(|function| function.as_str()))
        .maybe("window_seconds", time(&options.window)?)
        .with("limit", options.limit)
        .done())
}

fn generate(options: &GenerateOptions) -> Result<Request> {
    let folder = options.write.as_deref().map(absolute).transpose()?;
    Ok(Request::new().maybe("write", folder).flag("force", options.force))
}
