//! `metrics history`: series as small pictures.

use serde_json::Value;

use super::fields::fields;
use super::table::{Cell, Table};
use super::words::{clean, count, duration, size};
use super::{Tone, View, list, number, text};

/// How wide a picture is.
const WIDTH: usize = 40;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One line for each series: its picture, and what its values were.
pub(in crate::cli) fn history(value: &Value, view: &View) -> String {
    let mut table = Table::new(["SERIES", "OVER THE TIME", "MIN", "AVG", "MAX", "LAST"], &[2, 3, 4, 5]);
    let all = list(value, "series");
    for series in all {
        let name = text(series, "name");
        let values: Vec<Option<f64>> =
            list(series, "samples").iter().map(|sample| sample.get("value").and_then(Value::as_f64)).collect();
        let figure = |field: &str| series.get(field).and_then(Value::as_f64).map_or(String::new(), |v| shown(name, v));
        table.row([
            labelled(series).into(),
            Cell::toned(sparkline(&values, WIDTH), Tone::Strong),
            figure("min").into(),
            figure("avg").into(),
            figure("max").into(),
            figure("last").into(),
        ]);
    }
    let mut out = match all.is_empty() {
        true => "no samples: nothing of that name was seen in that time\n".to_owned(),
        false => table.show(view),
    };
    if let Some(more) = number(value, "left_out").filter(|more| *more > 0) {
        out.push_str(&format!("  … and {} more series: name one, or raise --limit\n", count(more)));
    }
    if let Some(kept) = value.get("kept").filter(|kept| kept.is_object()) {
        let span = kept.get("span_seconds").and_then(Value::as_f64).map(duration).unwrap_or_default();
        let [series, samples, bytes] = ["series", "samples", "size_bytes"].map(|name| number(kept, name).unwrap_or(0));
        let line = format!("kept: {span} of {} series, {} samples, {}", count(series), count(samples), size(bytes));
        out.push_str(&view.paint(Tone::Dim, &line));
        out.push('\n');
    }
    out.push_str(&fields(value, &["series", "left_out", "kept", "since", "until"], view));
    out
}

/// `name{label="value"}`.
fn labelled(series: &Value) -> String {
    let labels: Vec<String> = series
        .get("labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{}=\"{}\"", clean(name), clean(value.as_str().unwrap_or_default())))
        .collect();
    let name = clean(text(series, "name"));
    if labels.is_empty() { name } else { format!("{name}{{{}}}", labels.join(",")) }
}

/// A value in the unit that its name ends in.
fn shown(name: &str, value: f64) -> String {
    if name.ends_with("_bytes") && value >= 0.0 {
        return size(value as u64);
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    match value.abs() {
        magnitude if !(1e-3..1e15).contains(&magnitude) => format!("{value:.3e}"),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        magnitude if magnitude >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// Values as bars between the least and the greatest of them, a blank where there is none. Of more than fit, each bar is
/// the greatest of its share, so that no peak is lost.
fn sparkline(values: &[Option<f64>], width: usize) -> String {
    let known = || values.iter().copied().flatten();
    let (Some(low), Some(high)) = (known().reduce(f64::min), known().reduce(f64::max)) else { return String::new() };
    let bars = values.len().min(width);
    let bar = |at: usize| {
        let share = &values[at * values.len() / bars..(at + 1) * values.len() / bars];
        let Some(value) = share.iter().copied().flatten().reduce(f64::max) else { return ' ' };
        // Halved, since the difference of two numbers may be more than there is a number for.
        let part = (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
        let level = if part.is_finite() { (part * 7.0).round() as usize } else { 0 };
        BARS[level.min(7)]
    };
    (0..bars).map(bar).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::plain;
    use super::*;

    #[test]
    fn pictures_show_every_peak_and_every_gap() {
        let some = |values: &[f64]| values.iter().copied().map(Some).collect::<Vec<_>>();
        assert_eq!(sparkline(&some(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), 40), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&some(&[5.0, 5.0]), 40), "▁▁");
        assert_eq!(sparkline(&[Some(1.0), None, Some(2.0)], 40), "▁ █");
        assert_eq!(sparkline(&[None, None], 40), "");
        assert_eq!(sparkline(&[], 40), "");
        let mut peak = vec![Some(0.0); 1000];
        peak[501] = Some(9.0);
        let shown = sparkline(&peak, 40);
        assert_eq!((shown.chars().count(), shown.matches('█').count()), (40, 1));
        assert_eq!(sparkline(&some(&[f64::MIN, 0.0, f64::MAX]), 40), "▁▅█");
    }

    #[test]
    fn a_line_for_each_series() {
        let sample = |value: Value| json!({ "time": "2026-11-22T12:00:00Z", "value": value });
        let value = json!({
            "since": "2026-11-22T11:00:00Z", "until": "2026-11-22T12:00:00Z", "left_out": 3,
            "series": [
                { "name": "process_resident_memory_bytes", "labels": {}, "min": 1048576.0, "avg": 1572864.0,
                  "max": 2097152.0, "last": 2097152.0, "samples": [sample(json!(1048576)), sample(json!(2097152))] },
                { "name": "requests_total", "labels": { "status": "200" }, "min": 0.25, "avg": 0.5, "max": 120.5,
                  "last": null, "samples": [sample(json!(0.25)), sample(json!(null))] },
            ],
            "kept": { "span_seconds": 7200.0, "series": 150, "samples": 72000, "size_bytes": 262144, "refused": 0 },
        });
        assert_eq!(
            history(&value, &plain()),
            "\
SERIES                         OVER THE TIME      MIN      AVG      MAX     LAST
process_resident_memory_bytes  ▁█             1.0 MiB  1.5 MiB  2.0 MiB  2.0 MiB
requests_total{status=\"200\"}   ▁                0.250    0.500    120.5
  … and 3 more series: name one, or raise --limit
kept: 2 h of 150 series, 72,000 samples, 256.0 KiB
"
        );
        assert!(history(&json!({ "series": [] }), &plain()).starts_with("no samples"));
    }
}
