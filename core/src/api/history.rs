//! `metrics.history`: what the numbers of this process were lately.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cancel::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::history::{HistorySeries, Moment, Range, Sample, Selector, functions};
use crate::ops::{Context, Effect, Operation, Place};

/// How many values a request may ask for: of all series together.
const MAX_VALUES: f64 = 2_000_000.0;
/// How old a value may be before it says nothing any more, where steps are asked for: as in PromQL.
const LOOKBACK: Duration = Duration::from_secs(300);

/// Which numbers, of which time.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryRequest {
    /// The name as on the page of metrics, such as `uplifted_requests_total`; `*` in it is any text. All when missing.
    #[serde(default)]
    pub metric: Option<String>,
    /// Labels and what they must be, each as `name=value`; `*` in a value is any text.
    #[serde(default)]
    pub labels: Vec<String>,
    /// How far back, in seconds. An hour when missing.
    #[serde(default)]
    pub range_seconds: Option<f64>,
    /// The end of the time. Now when missing.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// One value each so many seconds. Every sample as it was taken when missing, and for a function as often as samples
    /// are taken.
    #[serde(default)]
    pub step_seconds: Option<f64>,
    /// What to make of the samples. Their values when missing.
    #[serde(default)]
    pub function: Option<HistoryFunction>,
    /// Over how much time before each value the function reckons, in seconds. Five minutes when missing.
    #[serde(default)]
    pub window_seconds: Option<f64>,
    /// At most so many series, in the order of their names. 100 when missing.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// What to make of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistoryFunction {
    /// By how much a counter grew a second, through restarts.
    Rate,
    /// By how much a counter grew in the window.
    Increase,
    /// By how much a gauge changed in the window.
    Delta,
    /// The least value in the window.
    Min,
    /// The greatest value in the window.
    Max,
    /// The mean of the values in the window.
    Avg,
    /// By how much a gauge grows a second, by the line of least squares.
    Slope,
}

impl HistoryFunction {
    fn of(self, samples: &[Sample], range: Range) -> Option<f64> {
        let function = match self {
            Self::Rate => functions::rate,
            Self::Increase => functions::increase,
            Self::Delta => functions::delta,
            Self::Min => functions::min,
            Self::Max => functions::max,
            Self::Avg => functions::avg,
            Self::Slope => functions::slope,
        };
        function(samples, range)
    }
}

/// What the numbers were.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HistoryResponse {
    /// The beginning of the time, which is not part of it.
    pub since: Timestamp,
    /// Its end, which is.
    pub until: Timestamp,
    /// The series, by name and labels.
    pub series: Vec<SeriesHistory>,
    /// How many more there are than the limit lets through.
    pub left_out: u64,
    /// What the process keeps in all.
    pub kept: HistoryKept,
}

/// What a series was.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SeriesHistory {
    /// The name as on the page.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The least of these values. Absent when none is a number.
    pub min: Option<f64>,
    /// The greatest of these values.
    pub max: Option<f64>,
    /// The mean of these values.
    pub avg: Option<f64>,
    /// The newest of these values. Absent when the series has ended.
    pub last: Option<f64>,
    /// The values, oldest first.
    pub samples: Vec<HistorySample>,
}

/// A value at a moment.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct HistorySample {
    /// When.
    pub time: Timestamp,
    /// The value. Absent where there is none: the series had ended, or it is not a finite number.
    pub value: Option<f64>,
}

/// What the process keeps of the past.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct HistoryKept {
    /// How far back it goes, in seconds.
    pub span_seconds: f64,
    /// Series.
    pub series: u64,
    /// Samples.
    pub samples: u64,
    /// Bytes of memory.
    pub size_bytes: u64,
    /// How often a series was not written down, because there were too many or they took too much memory.
    pub refused: u64,
}

/// `metrics.history`
#[derive(Debug)]
pub struct History;

impl Operation for History {
    const NAME: &'static str = "metrics.history";
    const SUMMARY: &'static str = "Tell what the metrics of this process were lately, or what they add up to";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    type Request = HistoryRequest;
    type Response = HistoryResponse;

    async fn run(context: Arc<Context>, scope: Scope, request: HistoryRequest) -> Result<HistoryResponse> {
        let plan = Plan::of(&context, &request, Moment::of(scope.clock.as_ref()))?;
        let Some(history) = context.history.clone() else {
            return Err(Error::new(ErrorKind::Unsupported, "this process keeps no past of its metrics").with_hint(
                "leave metrics.history_seconds above 0; on the command line, start the service, which alone knows it",
            ));
        };
        let work = tokio::task::spawn_blocking(move || {
            let mut found = history.select(&plan.selector, plan.reach, plan.now);
            let limit = plan.limit;
            let left_out = found.len().saturating_sub(limit) as u64;
            found.truncate(limit);
            plan.refuse_too_many(found.len())?;
            let stats = history.stats();
            Ok(HistoryResponse {
                since: time(plan.range.from_ms)?,
                until: time(plan.range.to_ms)?,
                series: found.iter().map(|series| plan.series(series)).collect::<Result<_>>()?,
                left_out,
                kept: HistoryKept {
                    span_seconds: stats.span.as_secs_f64(),
                    series: stats.series as u64,
                    samples: stats.samples as u64,
                    size_bytes: stats.bytes as u64,
                    refused: stats.refused,
                },
            })
        });
        work.await.map_err(|error| Error::internal(format!("the past was not read: {error}")))?
    }
}

/// A request, checked.
struct Plan {
    selector: Selector,
    function: Option<HistoryFunction>,
    range: Range,
    /// The range with what functions and steps look at before it.
    reach: Range,
    now: Moment,
    /// In milliseconds.
    step: Option<i64>,
    window: i64,
    limit: usize,
}

impl Plan {
    fn of(context: &Context, request: &HistoryRequest, now: Moment) -> Result<Self> {
        let millis = |name: &str, value: f64, least: f64| -> Result<i64> {
            // The longest that is ever kept is a week.
            if !(least..=604_800.0).contains(&value) {
                return Err(Error::invalid(format!("{name} is {value}"))
                    .with_hint(format!("set {name} to seconds from {least} to 604800")));
            }
            Ok((value * 1000.0).round() as i64)
        };
        let length = millis("range_seconds", request.range_seconds.unwrap_or(3600.0), 0.001)?;
        let window = millis("window_seconds", request.window_seconds.unwrap_or(300.0), 0.001)?;
        let usual = request.function.map(|_| context.settings.metrics.step_seconds);
        let step = request.step_seconds.or(usual).map(|step| millis("step_seconds", step, 0.1)).transpose()?;
        let until = request.until.unwrap_or(now.wall).as_millisecond();
        let before = match (request.function, step) {
            (Some(_), _) => window,
            (None, Some(_)) => LOOKBACK.as_millis() as i64,
            (None, None) => 0,
        };
        let range = Range { from_ms: until.saturating_sub(length), to_ms: until };
        Ok(Self {
            selector: Selector {
                name: request.metric.clone().unwrap_or_default(),
                labels: request.labels.iter().map(|text| label(text)).collect::<Result<_>>()?,
            },
            function: request.function,
            range,
            reach: Range { from_ms: range.from_ms.saturating_sub(before), ..range },
            now,
            step,
            window,
            limit: request.limit.unwrap_or(100) as usize,
        })
    }

    fn refuse_too_many(&self, series: usize) -> Result<()> {
        let Some(step) = self.step else { return Ok(()) };
        let each = self.range.seconds() * 1000.0 / step as f64;
        if each * series as f64 <= MAX_VALUES {
            return Ok(());
        }
        Err(Error::invalid(format!("{series} series of {each:.0} values each are more than {MAX_VALUES}"))
            .with_hint("ask for a longer step_seconds, a shorter range_seconds, or fewer series"))
    }

    fn series(&self, series: &HistorySeries) -> Result<SeriesHistory> {
        let values: Vec<(i64, Option<f64>)> = match self.step {
            None => {
                let value = |sample: &Sample| (!sample.is_stale()).then_some(sample.value);
                series.samples.iter().map(|sample| (sample.time_ms, value(sample))).collect()
            }
            Some(step) => self.steps(step).map(|at| (at, self.value_at(&series.samples, at))).collect(),
        };
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        let known = || values.iter().filter_map(|(_, value)| finite(*value));
        let count = known().count();
        Ok(SeriesHistory {
            name: series.name.clone(),
            labels: series.labels.iter().cloned().collect(),
            min: known().reduce(f64::min),
            max: known().reduce(f64::max),
            avg: (count > 0).then(|| known().map(|value| value / count as f64).sum()),
            last: finite(values.last().and_then(|(_, value)| *value)),
            samples: values
                .into_iter()
                .map(|(at, value)| Ok(HistorySample { time: time(at)?, value: finite(value) }))
                .collect::<Result<_>>()?,
        })
    }

    /// The moments of the steps: the last is the end of the range.
    fn steps(&self, step: i64) -> impl Iterator<Item = i64> + use<> {
        let Range { from_ms, to_ms } = self.range;
        let count = to_ms.saturating_sub(from_ms).saturating_sub(1) / step;
        (0..=count).rev().map(move |back| to_ms - back * step)
    }

    fn value_at(&self, samples: &[Sample], at: i64) -> Option<f64> {
        match self.function {
            Some(function) => function.of(samples, Range { from_ms: at - self.window, to_ms: at }),
            None => functions::last(samples, Range { from_ms: at - LOOKBACK.as_millis() as i64, to_ms: at }),
        }
    }
}

/// `name=value`.
fn label(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Error::invalid(format!("labels has {text:?}")).with_hint("write name=value, such as status=500")),
    }
}

fn time(millis: i64) -> Result<Timestamp> {
    Timestamp::from_millisecond(millis).map_err(|error| {
        Error::invalid(format!("{millis} ms since the epoch is no time: {error}"))
            .with_hint("ask for a time within the last week")
    })
}
