//! When to stop: a signal, or the end of stdin.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::Failure;

/// A flag that is raised by SIGTERM and SIGINT and, with `stdin`, when stdin closes: a child that watches its
/// stdin never outlives the program that started it, not even when that is killed.
///
/// # Errors
/// The system does not let this process handle signals.
pub fn flag(stdin: bool) -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let raised = Arc::clone(&stop);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        raised.store(true, Ordering::SeqCst);
    });
    if stdin {
        let raised = Arc::clone(&stop);
        std::thread::spawn(move || {
            let mut rest = [0; 256];
            let mut stdin = std::io::stdin();
            while stdin.read(&mut rest).is_ok_and(|read| read > 0) {}
            raised.store(true, Ordering::SeqCst);
        });
    }
    Ok(stop)
}
