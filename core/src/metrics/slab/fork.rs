//! What a fork finds: no lock of ours in the hands of a thread that the child does not have.
//!
//! Every lock that is behind the counting (of families, registries, what was merged, the slab's own) is taken inside the
//! gate. A fork waits until nobody is inside, so the child finds all of them free. Handles count without any of this.

use std::cell::Cell;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static GATE: RwLock<()> = RwLock::new(());

thread_local! {
    /// How often this thread is inside.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Being inside. While one exists, no thread of this process forks: keep it short, and run no foreign code.
pub(in crate::metrics) struct Gate(Option<RwLockReadGuard<'static, ()>>);

/// Goes inside. May be called by who is inside already.
pub(in crate::metrics) fn gate() -> Gate {
    let depth = DEPTH.get();
    // Only the outermost takes the lock: a second one would wait for a fork that waits for the first.
    let lock = (depth == 0).then(|| GATE.read().unwrap_or_else(PoisonError::into_inner));
    DEPTH.set(depth + 1);
    Gate(lock)
}

impl Drop for Gate {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        self.0.take();
    }
}

/// A lock that was taken inside the gate.
pub(in crate::metrics) struct Inside<G> {
    // Let go of first.
    guard: G,
    _gate: Gate,
}

/// Takes a lock inside the gate.
pub(in crate::metrics) fn inside<G>(take: impl FnOnce() -> G) -> Inside<G> {
    let gate = gate();
    Inside { guard: take(), _gate: gate }
}

impl<G: std::ops::Deref> std::ops::Deref for Inside<G> {
    type Target = G::Target;

    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: std::ops::DerefMut> std::ops::DerefMut for Inside<G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

/// Waits until nobody is inside, and lets nobody in. A thread that forks from inside, which only a signal handler can,
/// does without: it would wait for itself.
pub(super) fn hold() -> (Option<RwLockWriteGuard<'static, ()>>, RwLockWriteGuard<'static, super::State>) {
    let gate = (DEPTH.get() == 0).then(|| GATE.write().unwrap_or_else(PoisonError::into_inner));
    (gate, super::write())
}
