//! The children of a family by their label values: first by which objects these are, then by what they say.
//!
//! Text in a program is mostly the same object each time, and comparing addresses costs a nanosecond. Texts and ints never
//! change, and a slot holds its own, so that no other object can come to lie there.

use std::cell::UnsafeCell;
use std::sync::OnceLock;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// Slots of a family, in pairs.
const SLOTS: usize = 256;
/// Families of more labels are looked up by value.
const LABELS: usize = 4;

/// Some label values, by object, and their child.
#[derive(Default)]
struct Slot {
    values: [Option<Py<PyAny>>; LABELS],
    child: Option<Py<PyAny>>,
}

impl Slot {
    #[inline]
    fn is(&self, values: &[*mut PyObject]) -> bool {
        // As many as there are: the first of two labels are no label of one.
        self.values.iter().enumerate().all(|(at, held)| {
            held.as_ref().map_or(std::ptr::null_mut(), Py::as_ptr)
                == values.get(at).copied().unwrap_or(std::ptr::null_mut())
        })
    }
}

/// The children of one family.
#[derive(Default)]
pub(super) struct Children {
    slots: OnceLock<Box<[UnsafeCell<Slot>]>>,
    /// By a tuple of text.
    known: OnceLock<Py<PyDict>>,
}

// SAFETY: a slot is read and written while the interpreter's lock is held, and nothing that could give it up happens
// meanwhile. Builds of Python without that lock are refused at import.
unsafe impl Sync for Children {}

impl Children {
    /// The child of these values, borrowed, or null. Runs no host code.
    ///
    /// # Safety
    /// The interpreter's lock is held, and `values` are objects.
    #[inline]
    pub(super) unsafe fn find(&self, values: &[*mut PyObject]) -> *mut PyObject {
        if let (Some(slots), true) = (self.slots.get(), values.len() <= LABELS) {
            let at = place(values);
            for at in [at, at ^ 1] {
                // SAFETY: see `Sync`.
                let slot = unsafe { &*slots[at].get() };
                if slot.is(values)
                    && let Some(child) = &slot.child
                {
                    return child.as_ptr();
                }
            }
        }
        // SAFETY: the caller's promises.
        unsafe { self.find_by_value(values) }
    }

    /// # Safety
    /// As [`Children::find`].
    unsafe fn find_by_value(&self, values: &[*mut PyObject]) -> *mut PyObject {
        let null = std::ptr::null_mut();
        let Some(known) = self.known.get() else { return null };
        // SAFETY: the caller's promises. Only texts and nothing derived from them are hashed and compared: that runs no host
        // code. The tuple takes a reference to each.
        unsafe {
            if values.iter().any(|value| ffi::PyUnicode_CheckExact(*value) == 0) {
                return null;
            }
            let tuple = ffi::PyTuple_New(values.len() as ffi::Py_ssize_t);
            if tuple.is_null() {
                ffi::PyErr_Clear();
                return null;
            }
            for (at, value) in values.iter().enumerate() {
                ffi::PyTuple_SetItem(tuple, at as ffi::Py_ssize_t, ffi::Py_NewRef(*value));
            }
            let child = ffi::PyDict_GetItemWithError(known.as_ptr(), tuple);
            ffi::Py_DECREF(tuple);
            if child.is_null() {
                ffi::PyErr_Clear();
            } else {
                self.remember(Python::assume_attached(), values, child);
            }
            child
        }
    }

    /// Remembers a child by these very objects, where they are texts or ints.
    ///
    /// # Safety
    /// As [`Children::find`], and `child` is an object.
    unsafe fn remember(&self, py: Python<'_>, values: &[*mut PyObject], child: *mut PyObject) {
        if values.len() > LABELS {
            return;
        }
        // SAFETY: the caller's promises.
        let mut slot = unsafe {
            if values.iter().any(|value| ffi::PyUnicode_CheckExact(*value) == 0 && ffi::PyLong_CheckExact(*value) == 0)
            {
                return;
            }
            Slot { values: Default::default(), child: Some(Bound::from_borrowed_ptr(py, child).unbind()) }
        };
        for (held, value) in slot.values.iter_mut().zip(values) {
            // SAFETY: as above.
            *held = Some(unsafe { Bound::from_borrowed_ptr(py, *value) }.unbind());
        }
        let slots = self.slots.get_or_init(|| (0..SLOTS).map(|_| UnsafeCell::default()).collect());
        let at = place(values);
        // SAFETY: see `Sync`. What lay there moves to its neighbour, and what is left over is dropped once both are in order:
        // dropping may run host code.
        let _left_over = unsafe {
            let old = std::mem::replace(&mut *slots[at].get(), slot);
            if old.child.is_some() { std::mem::replace(&mut *slots[at ^ 1].get(), old) } else { old }
        };
    }

    /// Keeps a child under values that are all text.
    pub(super) fn keep(&self, py: Python<'_>, values: &Bound<'_, PyTuple>, child: &Bound<'_, PyAny>) -> PyResult<()> {
        self.known.get_or_init(|| PyDict::new(py).unbind()).bind(py).set_item(values, child)
    }

    /// The child that is kept under values that are all text.
    pub(super) fn get(&self, py: Python<'_>, values: &Bound<'_, PyTuple>) -> PyResult<Option<Py<PyAny>>> {
        let Some(known) = self.known.get() else { return Ok(None) };
        Ok(known.bind(py).get_item(values)?.map(Bound::unbind))
    }

    /// Remembers a child by the objects it was asked for with.
    pub(super) fn note(&self, values: &Bound<'_, PyTuple>, child: &Bound<'_, PyAny>) {
        let objects: Vec<*mut PyObject> = values.iter_borrowed().map(|value| value.as_ptr()).collect();
        // SAFETY: objects, and the lock is held as `values` shows.
        unsafe { self.remember(values.py(), &objects, child.as_ptr()) };
    }

    /// Forgets a child, or all of them.
    pub(super) fn forget(&self, py: Python<'_>, values: Option<&Bound<'_, PyTuple>>) -> PyResult<()> {
        if let Some(known) = self.known.get() {
            let known = known.bind(py);
            match values {
                Some(values) if known.contains(values)? => known.del_item(values)?,
                Some(_) => {}
                None => known.clear(),
            }
        }
        for slot in self.slots.get().into_iter().flatten() {
            // SAFETY: see `Sync`. What lay there is dropped when the slot is empty already.
            drop(unsafe { std::mem::take(&mut *slot.get()) });
        }
        Ok(())
    }
}

/// The first of the two slots in which these objects may lie.
#[inline]
fn place(values: &[*mut PyObject]) -> usize {
    // Objects lie 16 bytes apart at least. The golden ratio spreads what is left, see Knuth, TAOCP 6.4.
    let mixed = values
        .iter()
        .fold(0_usize, |mixed, value| (mixed.rotate_left(5) ^ (value.addr() >> 4)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed >> (usize::BITS - SLOTS.ilog2())
}
