//! Ctrl-C: the first asks the work to stop, the second leaves at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::cancel::Cancel;
use crate::error::{Error, Result};

/// Listens for SIGINT and SIGTERM from now on. Their numbers arrive in the receiver.
///
/// # Errors
/// The system does not let this process handle signals.
pub(super) fn listen() -> Result<mpsc::Receiver<i32>> {
    let (sender, receiver) = mpsc::channel(4);
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let stream = signal(kind).map_err(|error| Error::io("listen for signals", error))?;
        tokio::spawn(forward(stream, kind.as_raw_value(), sender.clone()));
    }
    Ok(receiver)
}

async fn forward(mut stream: Signal, number: i32, sender: mpsc::Sender<i32>) {
    while stream.recv().await.is_some() {
        if sender.send(number).await.is_err() {
            return;
        }
    }
}

/// Raises `cancel` at the first signal and says so; calls `leave` with `128 + signal` at the second, the
/// status that a shell gives to a process that a signal ended.
pub(super) async fn obey(
    mut signals: mpsc::Receiver<i32>,
    cancel: Cancel,
    note: impl Fn(&str),
    leave: impl FnOnce(i32),
) {
    if signals.recv().await.is_none() {
        return;
    }
    cancel.cancel();
    note("stopping; press Ctrl-C again to leave at once");
    if let Some(number) = signals.recv().await {
        leave(128 + number);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn the_first_signal_asks_and_the_second_leaves() {
        let (sender, receiver) = mpsc::channel(4);
        let (cancel, notes, left) = (Cancel::new(), RefCell::new(Vec::new()), RefCell::new(None));
        sender.send(libc::SIGTERM).await.unwrap();
        sender.send(libc::SIGINT).await.unwrap();
        let note = |text: &str| notes.borrow_mut().push(text.to_owned());
        obey(receiver, cancel.clone(), note, |status| *left.borrow_mut() = Some(status)).await;
        assert!(cancel.is_cancelled());
        assert_eq!(notes.into_inner(), ["stopping; press Ctrl-C again to leave at once"]);
        assert_eq!(left.into_inner(), Some(130));
    }

    #[tokio::test]
    async fn without_a_signal_nothing_is_stopped() {
        let (sender, receiver) = mpsc::channel(4);
        let cancel = Cancel::new();
        drop(sender);
        obey(receiver, cancel.clone(), |_| panic!("nothing to say"), |_| panic!("nothing to leave for")).await;
        assert!(!cancel.is_cancelled());
    }
}
