//! What a line of a log says about itself: its time and its level.
//!
//! The level is a *field*. The word "error" in a message, "0 errors", or a user's text is none: that was the fault
//! of `grep -i error` (guide rows 3 and 24). Understood are the guide's format, JSON lines, logfmt, and the
//! forms that common loggers write; the tests list them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::Value;

/// What a line says about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Line {
    pub time: Option<Time>,
    pub level: Option<Level>,
}

/// A line's own time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Time {
    /// With its zone, or as seconds since the epoch.
    Zoned(Timestamp),
    /// Without a zone: by the clock on the service's wall.
    Local(DateTime),
}

/// A line's level, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// ERROR.
    Error,
    /// CRITICAL, FATAL, and what syslog calls worse.
    Critical,
    /// Everything below.
    Lower,
}

impl Line {
    pub(super) fn parse(line: &str) -> Self {
        let line = line.trim_end();
        if line.starts_with('{') {
            return Self::json(line).unwrap_or_default();
        }
        if let Some(line) = Self::logfmt(line) {
            return line;
        }
        let bare = line.strip_prefix('[').unwrap_or(line);
        match take_time(bare) {
            Some((time, rest)) => Self { time: Some(time), level: level_after_time(rest) },
            None => Self { time: None, level: level_at_start(line) },
        }
    }

    /// An object for each line: python-json-logger, structlog, zap, pino, bunyan, ECS, Google Cloud.
    fn json(line: &str) -> Option<Self> {
        let object: Value = serde_json::from_str(line).ok()?;
        let field = |names: &[&str]| names.iter().find_map(|name| object.get(name)).cloned();
        let level = match field(&["level", "levelname", "severity", "log.level", "lvl"]) {
            Some(Value::String(word)) => Level::of(&word),
            // pino and bunyan: 30 info, 40 warn, 50 error, 60 fatal.
            Some(Value::Number(number)) => number.as_f64().map(|number| match number {
                n if n >= 60.0 => Level::Critical,
                n if n >= 50.0 => Level::Error,
                _ => Level::Lower,
            }),
            _ => object.pointer("/log/level").and_then(Value::as_str).and_then(Level::of),
        };
        let time = match field(&["timestamp", "time", "ts", "@timestamp", "asctime", "datetime"]) {
            Some(Value::String(text)) => take_time(&text).map(|(time, _)| time),
            Some(Value::Number(number)) => number.as_f64().and_then(from_epoch),
            _ => None,
        };
        Some(Self { time, level })
    }

    /// `time=2025-10-28T10:30:45Z level=error msg="…"`. What comes after the message is the user's.
    fn logfmt(line: &str) -> Option<Self> {
        let key_end = line.find('=')?;
        if key_end == 0
            || !line[..key_end].bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'@'))
        {
            return None;
        }
        let mut found = Self::default();
        let mut rest = line;
        for _ in 0..20 {
            let Some((key, after)) = rest.trim_start().split_once('=') else { break };
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => after.split_once(' ').unwrap_or((after, "")),
            };
            match key {
                "msg" | "message" => break,
                "level" | "lvl" | "severity" => found.level = Level::of(value),
                "time" | "ts" | "timestamp" | "t" => {
                    found.time = take_time(value)
                        .map(|(time, _)| time)
                        .or_else(|| value.parse::<f64>().ok().and_then(from_epoch));
                }
                _ => {}
            }
            rest = after;
        }
        (found != Self::default()).then_some(found)
    }
}

impl Level {
    /// The level that a word names, in any case.
    fn of(word: &str) -> Option<Self> {
        let word = word.trim();
        // The longest is `EMERGENCY`; anything longer is text.
        if word.len() > 9 {
            return None;
        }
        Some(match word.to_ascii_uppercase().as_str() {
            "ERROR" | "ERR" => Self::Error,
            "CRITICAL" | "CRIT" | "FATAL" | "PANIC" | "ALERT" | "EMERG" | "EMERGENCY" => Self::Critical,
            "TRACE" | "DEBUG" | "VERBOSE" | "INFO" | "NOTICE" | "WARN" | "WARNING" | "LOG" | "HINT" => Self::Lower,
            _ => return None,
        })
    }

    /// The same for a word that stands free in the text, where only capitals are a level.
    fn of_capitals(word: &str) -> Option<Self> {
        word.bytes().all(|b| b.is_ascii_uppercase()).then(|| Self::of(word)).flatten()
    }
}

/// Skips groups in brackets, such as a pid or a logger, until one of them is the level.
fn bracketed(mut rest: &str) -> Result<Level, &str> {
    for _ in 0..4 {
        rest = rest.trim_start();
        let Some((group, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) else { break };
        if let Some(level) = Level::of(group) {
            return Ok(level);
        }
        if group.len() > 100 {
            break;
        }
        rest = after;
    }
    Err(rest)
}

/// The level in what follows the time.
fn level_after_time(rest: &str) -> Option<Level> {
    let rest = rest.strip_prefix(']').unwrap_or(rest).trim_start();
    // The guide's: `<time> - <logger> - <LEVEL> - <message>`, or without the logger.
    if let Some(rest) = rest.strip_prefix("- ") {
        let mut fields = rest.splitn(3, " - ");
        let (first, second) = (fields.next().unwrap_or_default(), fields.next());
        return second.and_then(Level::of_capitals).or_else(|| Level::of_capitals(first));
    }
    let rest = match bracketed(rest) {
        Ok(level) => return Some(level),
        Err(rest) => rest,
    };
    let (word, after) = split_word(rest);
    if let Some(level) = Level::of_capitals(word) {
        return Some(level);
    }
    // `<time> <logger> <LEVEL> <message>`: a logger's name has no capitals, so that the first word of a sentence
    // is none.
    let name = word.trim_end_matches(':');
    let logger =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
    if !logger {
        return None;
    }
    match bracketed(after) {
        Ok(level) => Some(level),
        Err(rest) => Level::of_capitals(split_word(rest).0),
    }
}

/// The level of a line that begins with it: `ERROR: …`, `ERROR:root:…`, `[ERROR] …`, `ERROR - …`.
fn level_at_start(line: &str) -> Option<Level> {
    if line.starts_with('[') {
        return bracketed(line).ok();
    }
    let (word, after) = split_word(line);
    let ended = line[word.len()..].starts_with(':') || after.starts_with("- ");
    if ended { Level::of_capitals(word) } else { None }
}

/// The first word, and what comes after the spaces and the colon that end it.
fn split_word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_whitespace() || c == ':').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start_matches(|c: char| c.is_whitespace() || c == ':'))
}

/// A time at the start of `text`, and the rest: `2025-10-28 10:30:45`, with `T` or slashes, a fraction after a dot or
/// comma, and a zone (`Z`, `UTC`, `+0000`, `+01:00`).
fn take_time(text: &str) -> Option<(Time, &str)> {
    let head = text.get(..19)?;
    let bytes = head.as_bytes();
    let shape = bytes.iter().enumerate().all(|(at, byte)| match at {
        4 | 7 => matches!(byte, b'-' | b'/'),
        10 => matches!(byte, b' ' | b'T'),
        13 | 16 => *byte == b':',
        _ => byte.is_ascii_digit(),
    });
    if !shape {
        return None;
    }
    let plain = format!("{}T{}", head[..10].replace('/', "-"), &head[11..]);
    let time: DateTime = plain.parse().ok()?;
    let mut rest = &text[19..];
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    if let Some((offset, after)) = take_zone(rest) {
        let moment = offset.to_timestamp(time).ok()?;
        return Some((Time::Zoned(moment), after));
    }
    Some((Time::Local(time), rest))
}

fn take_zone(rest: &str) -> Option<(jiff::tz::Offset, &str)> {
    if let Some(after) = rest.strip_prefix('Z') {
        return Some((jiff::tz::Offset::UTC, after));
    }
    let spaced = rest.strip_prefix(' ').unwrap_or(rest);
    for word in ["UTC", "GMT"] {
        if let Some(after) = spaced.strip_prefix(word).filter(|after| !after.starts_with(char::is_alphanumeric)) {
            return Some((jiff::tz::Offset::UTC, after));
        }
    }
    let sign = match spaced.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = spaced.get(1..)?;
    let hours = digits.get(..2)?.parse::<i32>().ok()?;
    let after = digits[2..].strip_prefix(':').unwrap_or(&digits[2..]);
    let minutes = after.get(..2)?.parse::<i32>().ok()?;
    let offset = jiff::tz::Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()?;
    Some((offset, &after[2..]))
}

/// Seconds since the epoch, or milliseconds, microseconds or nanoseconds where the number is too large for those.
fn from_epoch(number: f64) -> Option<Time> {
    let seconds =
        [1.0, 1e3, 1e6, 1e9].iter().map(|unit| number / unit).find(|seconds| (1e8..1e11).contains(seconds))?;
    let moment = Timestamp::from_millisecond((seconds * 1000.0) as i64).ok()?;
    Some(Time::Zoned(moment))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(line: &str) -> Option<Level> {
        Line::parse(line).level
    }

    #[test]
    fn a_level_is_a_field_and_never_a_word_of_the_message() {
        for line in [
            // The guide's own sample.
            "2025-10-28 10:30:47,789 - uplifted.api - ERROR - Error in plugins_api.py at line 142: Plugin 'unknown'",
            "2025-10-28 10:30:47 - ERROR - no logger in this format",
            r#"{"level": "error", "time": "2025-10-28T10:30:47Z", "msg": "x"}"#,
            r#"{"levelname": "ERROR", "asctime": "2025-10-28 10:30:47,789", "message": "x"}"#,
            r#"{"severity": "ERROR", "message": "x"}"#,
            r#"{"level": 50, "time": 1761647447789, "msg": "pino"}"#,
            r#"{"log": {"level": "error"}, "@timestamp": "2025-10-28T10:30:47.789Z"}"#,
            "time=2025-10-28T10:30:47Z level=error msg=\"logfmt\"",
            "level=error ts=1761647447.789 caller=x.go:1 msg=x",
            "[2025-10-28 10:30:47 +0000] [123] [ERROR] gunicorn",
            "2025/10/28 10:30:47 [error] 123#0: *1 nginx",
            "2025-10-28T10:30:47.789123Z ERROR crate::module: tracing",
            "[2025-10-28T10:30:47Z ERROR crate] env_logger",
            "2025-10-28 10:30:47.789 UTC [123] ERROR:  relation \"x\" does not exist",
            "2025-10-28 10:30:47,789 uvicorn.error ERROR message",
            "2025-10-28 10:30:47,789 [worker-1] ERROR com.example.Main - logback",
            "ERROR:    Exception in ASGI application",
            "ERROR:root:basicConfig",
            "[ERROR] message",
            "ERROR - message",
        ] {
            assert_eq!(level(line), Some(Level::Error), "{line}");
        }
        for line in [
            "2025-10-28 10:30:45,123 - uplifted.jobs - INFO - finished with 0 errors",
            "2025-10-28 10:30:45,123 - uplifted.jobs - INFO - user wrote: x - ERROR - y",
            "2025-10-28 10:30:45,123 - uplifted.error - WARNING - ERROR",
            r#"{"level": "info", "msg": "level: ERROR", "error": null}"#,
            r#"{"msg": "no level", "error": "x"}"#,
            "time=2025-10-28T10:30:47Z level=info msg=\"x\" level=error",
            "level=info msg=x severity=error",
            "2025-10-28T10:30:47Z INFO crate: ERROR",
            "2025-10-28 10:30:47 Deleted ERROR entries",
            "2025-10-28 10:30:47 Error while parsing",
            "Error: something",
            "ERRORS: 0",
            "error handling is on",
            "ERROR without a colon is prose",
            "[123] errors are counted",
            "    raise Error(\"ERROR: x\")",
            "",
            "[",
            "{",
            "{\"level\": \"ERROR\"",
            "= ERROR:",
            "2025-13-45 99:99:99,000 - x - ERROR - an impossible time",
        ] {
            assert!(!matches!(level(line), Some(Level::Error | Level::Critical)), "{line}");
        }
        for line in [
            "2025-10-28 10:30:45,123 - uplifted.api - CRITICAL - x",
            "[2025-10-28 10:30:47 +0000] [123] [CRITICAL] WORKER TIMEOUT",
            "2025/10/28 10:30:47 [emerg] 1#1: bind() failed",
            r#"{"level": 60, "msg": "x"}"#,
            "2025-10-28 10:30:47.789 UTC [123] FATAL:  the database system is shutting down",
        ] {
            assert_eq!(level(line), Some(Level::Critical), "{line}");
        }
    }

    #[test]
    fn times_keep_their_zone_or_their_lack_of_one() {
        let moment = |text: &str| Some(Time::Zoned(text.parse().unwrap()));
        let local = |text: &str| Some(Time::Local(text.parse().unwrap()));
        for (line, time) in [
            ("2025-10-28 10:30:45,123 - a - INFO - b", local("2025-10-28T10:30:45")),
            ("2025-10-28T10:30:45.123+02:00 INFO a", moment("2025-10-28T08:30:45Z")),
            ("[2025-10-28 10:30:45 -0530] [1] [INFO] a", moment("2025-10-28T16:00:45Z")),
            ("2025-10-28 10:30:45.123 UTC [1] LOG:  x", moment("2025-10-28T10:30:45Z")),
            ("2025-10-28 10:30:45 - UTC - INFO - x", local("2025-10-28T10:30:45")),
            (r#"{"level": "info", "ts": 1761647445}"#, moment("2025-10-28T10:30:45Z")),
            (r#"{"level": "info", "time": 1761647445000}"#, moment("2025-10-28T10:30:45Z")),
            (r#"{"level": "info", "time": 1e300}"#, None),
            ("2025-10-28", None),
            ("2025-10-28 10:30:4é x", None),
        ] {
            assert_eq!(Line::parse(line).time, time, "{line}");
        }
    }
}
