//! The alert rules, and the tests of them, as Prometheus and promtool read them.

use std::fmt::Write;

use crate::alerts::{Facts, cases, rules as all_rules};

use super::files::mark;
use super::yaml::{block, quoted};

/// What the file of the rules is called.
pub(super) const FILE: &str = "uplifted-alerts.yml";
/// What the file of their tests is called.
pub(super) const TESTS: &str = "uplifted-alerts_test.yml";

/// The file of the rules.
pub(super) fn rules(facts: &Facts) -> String {
    let mut text = format!(
        "# The alerts of {}. Written by uplifted-ops {}, {}\n\
         # Change what you like: a changed file is never overwritten without --force.\n\
         # Look it over with: promtool check rules {FILE} && promtool test rules {TESTS}\n\
         groups:\n  - name: {}\n    rules:\n",
        comment(&facts.job),
        env!("CARGO_PKG_VERSION"),
        mark(),
        quoted(&format!("{}_alerts", facts.job)),
    );
    for rule in all_rules(facts) {
        let _ = write!(text, "      - alert: {}\n        expr: |\n{}", rule.name, block(&rule.expr, 10));
        for (field, seconds) in [("for", rule.for_seconds), ("keep_firing_for", rule.keep_firing_seconds)] {
            if seconds > 0 {
                let _ = writeln!(text, "        {field}: {}m", seconds / 60);
            }
        }
        let _ = write!(
            text,
            "        labels:\n          severity: {}\n        annotations:\n          summary: {}\n          description: {}\n",
            rule.severity.as_str(),
            quoted(&rule.summary),
            quoted(&rule.description),
        );
    }
    text
}

/// The file of their tests.
pub(super) fn tests(facts: &Facts) -> String {
    let mut text = format!(
        "# When each alert of {} fires, and when it does not. Written by uplifted-ops {}, {}\n\
         # Run it with: promtool test rules {TESTS}\n\
         rule_files:\n  - {FILE}\nevaluation_interval: 1m\ntests:\n",
        comment(&facts.job),
        env!("CARGO_PKG_VERSION"),
        mark(),
    );
    for case in cases(facts) {
        let _ = writeln!(text, "  - name: {}\n    interval: 1m", quoted(&format!("{}: {}", case.alert, case.name)));
        if !case.input.is_empty() {
            text.push_str("    input_series:\n");
        }
        for series in &case.input {
            let _ = writeln!(
                text,
                "      - series: {}\n        values: {}",
                quoted(&series.series),
                quoted(&series.values)
            );
        }
        let _ = write!(
            text,
            "    promql_expr_test:\n      - expr: {}\n        eval_time: {}m\n        exp_samples:\n          - labels: '{{}}'\n            value: {}\n",
            quoted(&format!("count(ALERTS{{alertname=\"{}\",alertstate=\"firing\"}}) or vector(0)", case.alert)),
            case.minute,
            case.firing,
        );
    }
    text
}

/// A name in a comment: one line, whatever it is.
pub(super) fn comment(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
