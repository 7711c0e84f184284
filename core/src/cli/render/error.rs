//! An error for a person: what happened, where, and the repair.

use serde_json::Value;

use super::words::clean;
use super::{Tone, View, text};
use crate::error::{Error, ErrorKind};

/// `error: …`, the context, `hint: …`: what to do comes last, where the eye is.
pub(in crate::cli) fn error(error: &Error, view: &View) -> String {
    if error.kind() == ErrorKind::Cancelled {
        let what = error.operation().unwrap_or("the command");
        return format!("{} {what} was stopped, nothing was left half-done\n", view.paint(Tone::Warning, "cancelled:"));
    }
    let mut text = format!("{} {}\n", view.paint(Tone::Bad, "error:"), clean(error.message()));
    let body = error.to_body();
    let operation = body.operation.iter().map(|name| ("operation", name.clone()));
    let context = error.context().iter().map(|(name, value)| (name.as_str(), value.clone()));
    // A cause that the message repeats tells nothing new.
    let causes = body.causes.iter().filter(|cause| {
        let plain = cause.split(" (os error ").next().unwrap_or(cause);
        !error.message().contains(plain)
    });
    for (name, value) in operation.chain(context).chain(causes.map(|cause| ("cause", cause.clone()))) {
        text.push_str(&format!("  {} {}\n", view.paint(Tone::Dim, &format!("{}:", clean(name))), clean(&value)));
    }
    if let Some(hint) = error.hint() {
        text.push_str(&format!("{} {}\n", view.paint(Tone::Good, "hint:"), clean(hint)));
    }
    text
}

/// An error within an answer: its message, and on a line of its own the repair, that far to the right.
pub(super) fn inner(error: &Value, indent: &str, view: &View) -> String {
    let hint = match text(error, "hint") {
        "" => String::new(),
        hint => format!("{indent}{} {}\n", view.paint(Tone::Good, "hint:"), clean(hint)),
    };
    format!("{}\n{hint}", clean(text(error, "message")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::plain;
    use super::*;

    #[test]
    fn an_error_says_what_where_and_what_to_do() {
        let full = Error::new(ErrorKind::NoSpace, "the target has 1.0 MiB free, the backup needs 2.0 GiB")
            .with_context("target", "local")
            .with_hint("free space on /backup, or name another [[target]]")
            .with_source(std::io::Error::other("quota"))
            .in_operation("backup.create");
        assert_eq!(
            error(&full, &plain()),
            "\
error: the target has 1.0 MiB free, the backup needs 2.0 GiB
  operation: backup.create
  target: local
  cause: quota
hint: free space on /backup, or name another [[target]]
"
        );
    }

    #[test]
    fn a_cause_is_not_told_twice() {
        let io = Error::io("read \"a\"", std::io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(error(&io, &plain()), "error: could not read \"a\": No such file or directory\n");
    }

    #[test]
    fn a_cancel_is_one_plain_sentence() {
        let stopped = Error::new(ErrorKind::Cancelled, "cancelled by the caller").in_operation("backup.create");
        assert_eq!(error(&stopped, &plain()), "cancelled: backup.create was stopped, nothing was left half-done\n");
    }
}
