//! How much memory a parser takes: every allocation of this thread passes here.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that are allocated and not freed, and the most that there were.
    static LIVE: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, counted.
struct Counted;

fn count(bytes: isize) {
    // Where the thread is ending nobody counts any more.
    let _ = LIVE.try_with(|live| {
        let (now, most) = live.get();
        live.set((now + bytes, most.max(now + bytes)));
    });
}

// SAFETY: every call goes to the system's allocator with the same arguments; counting allocates nothing, since the
// thread-local cell is constant at first and has no destructor.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// The most bytes that this thread had allocated at once while `act` ran, beyond those before it.
pub fn peak_of<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.with(|live| {
        let (now, _) = live.get();
        live.set((now, now));
        now
    });
    let made = act();
    let peak = LIVE.with(|live| live.get().1) - before;
    (made, usize::try_from(peak).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_freed_in_between_counts() {
        let (len, peak) = peak_of(|| {
            drop(vec![1_u8; 3 << 20]);
            vec![1_u8; 1 << 20].len()
        });
        assert_eq!(len, 1 << 20);
        assert!((3 << 20..4 << 20).contains(&peak), "{peak}");
        assert!(peak_of(|| ()).1 < 1000);
    }
}
