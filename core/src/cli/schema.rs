//! `schema`: every operation with its request and response.

use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::ops::Entry;

/// All operations, or the one called `name`.
///
/// # Errors
/// [`ErrorKind::NotFound`] with the name that was probably meant.
pub(super) fn schema(table: &[Entry], name: Option<&str>) -> Result<Value> {
    let Some(name) = name else {
        return Ok(json!({ "operations": table.iter().map(describe).collect::<Vec<_>>() }));
    };
    table.iter().find(|entry| entry.name == name).map(describe).ok_or_else(|| {
        let near = table
            .iter()
            .map(|entry| (strsim::jaro_winkler(entry.name, name), entry.name))
            .filter(|(likeness, _)| *likeness > 0.75)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let hint = match near {
            Some((_, near)) => format!("did you mean {near}?"),
            None => "`uplifted-ops schema` prints every operation".to_owned(),
        };
        Error::new(ErrorKind::NotFound, format!("there is no operation {name:?}")).with_hint(hint)
    })
}

fn describe(entry: &Entry) -> Value {
    json!({
        "name": entry.name,
        "summary": entry.summary,
        "effect": entry.effect,
        "request": (entry.request_schema)(),
        "response": (entry.response_schema)(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::TABLE;

    #[test]
    fn an_operation_is_described_by_its_types() {
        let all = schema(TABLE, None).unwrap();
        let one = schema(TABLE, Some("echo.say")).unwrap();
        assert_eq!(all["operations"][0], one);
        assert_eq!(one["effect"], "read");
        assert_eq!(one["request"]["properties"]["text"]["description"], "What to say.");
        assert_eq!(one["response"]["required"][0], "said");
    }

    #[test]
    fn a_misspelling_is_met_with_the_right_name() {
        let error = schema(TABLE, Some("echo.sya")).unwrap_err();
        assert_eq!(error.hint(), Some("did you mean echo.say?"));
        let error = schema(TABLE, Some("zzz")).unwrap_err();
        assert_eq!(error.hint(), Some("`uplifted-ops schema` prints every operation"));
    }
}
