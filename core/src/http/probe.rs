//! What is known of the service's health, in the shapes that others read.

use serde_json::{Map, Value, json};

use crate::health::{CheckView, HealthState, HealthView};

use super::message::Request;

/// The media type of draft-inadarei-api-health-check-06.
pub(super) const HEALTH_JSON: &str = "application/health+json";

/// The group whose checks are the facts of `/api/v1/system/status`.
const SYSTEM: &str = "system";

/// Whether the sender prefers [`HEALTH_JSON`] to plain JSON, which it has to name (RFC 9110, section 12.5.1).
pub(super) fn wants_health_json(request: &Request) -> bool {
    let weight = |media: &str| {
        let ranges = request.values("accept").flat_map(|value| value.split(','));
        let of_it = ranges.filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            parts.next().filter(|name| name.eq_ignore_ascii_case(media))?;
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            Some(weight.map_or(1.0, |weight| weight.parse::<f64>().unwrap_or(0.0)))
        });
        of_it.fold(0.0, f64::max)
    };
    let wanted = weight(HEALTH_JSON);
    wanted > 0.0 && wanted >= weight("application/json")
}

/// The view as it is.
pub(super) fn plain(view: &HealthView) -> Value {
    serde_json::to_value(view).unwrap_or_default()
}

/// The view as draft-inadarei-api-health-check-06 has it: what is unknown is a failure there, what a check that passes says
/// is left out, and what that draft has no word for is a member of its own.
pub(super) fn health_json(view: &HealthView, service: &str) -> Value {
    let mut checks = Map::new();
    for check in &view.checks {
        checks.insert(check.name.clone(), json!([component(check)]));
    }
    let mut body = json!({ "status": word(view.status), "serviceId": service, "checks": checks });
    if !view.down.is_empty() {
        body["output"] = format!("down: {}", view.down.join(", ")).into();
    }
    body
}

fn component(check: &CheckView) -> Value {
    let mut shown = Map::from_iter([("status".to_owned(), Value::from(word(check.status)))]);
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            shown.insert(name.to_owned(), value);
        }
    };
    add("observedValue", check.observed.map(Value::from));
    add("observedUnit", check.unit.clone().map(Value::from));
    add("time", check.time.map(|time| time.to_string().into()));
    add("output", (check.status != HealthState::Pass).then(|| check.message.clone().into()));
    add("because_of", check.because_of.clone().map(Value::from));
    Value::Object(shown)
}

fn word(status: HealthState) -> &'static str {
    if status == HealthState::Unknown { HealthState::Fail.as_str() } else { status.as_str() }
}

/// The verdict, and under the name of each check of the group `system` its number, or else whether it is up: with
/// checks called `plugin_count`, `active_plugin_count`, `total_tools`, `active_tools` and `mcp_available` it is what the guide's
/// callers read. What is not known is null.
pub(super) fn system(view: &HealthView) -> Value {
    let mut body = Map::new();
    for check in view.checks.iter().filter(|check| check.groups.iter().any(|group| group == SYSTEM)) {
        let value = match (check.status, check.observed) {
            (HealthState::Unknown, _) => Value::Null,
            // A count is read as a whole number, by those who compare texts as well.
            (_, Some(count)) if count.fract() == 0.0 && count.abs() < 9e15 => Value::from(count as i64),
            (_, Some(number)) => Value::from(number),
            (state, None) => Value::from(!state.is_down()),
        };
        body.insert(check.name.clone(), value);
    }
    body.insert("status".to_owned(), json!(view.status));
    body.insert("phase".to_owned(), json!(view.phase));
    Value::Object(body)
}
