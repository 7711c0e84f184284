//! Methods that are called millions of times a second, below the layer of pyo3, which costs a call 15 ns.
//!
//! They are method descriptors of CPython, put on the classes that pyo3 made. Each does the common case and nothing else: no
//! host code runs, no reference is dropped, nothing is allocated. All else goes to a method of the same name behind an
//! underscore, which pyo3 wrote, or Python.
//!
//! CPython checks that `self` is an instance of the class before it calls one, and holds the interpreter's lock meanwhile.

use std::ffi::{CStr, c_char};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{Borrowed, PyClass};

use super::children::Children;
use super::instruments::{Counter, Gauge, Histogram};

/// A method as CPython calls it: `self`, the arguments, how many are by position, and the names of the others.
type Fast = unsafe extern "C" fn(*mut PyObject, *const *mut PyObject, ffi::Py_ssize_t, *mut PyObject) -> *mut PyObject;

/// A method, and what it is called.
type Named = (&'static CStr, Fast, &'static CStr);

const COUNTER: &[Named] = &[
    (c"inc", counter_inc, c"inc($self, amount=1, exemplar=None)\n--\n\nAdds ``amount``, which is not negative."),
    (c"labels", labels::<Counter>, LABELS),
];
const GAUGE: &[Named] = &[
    (c"inc", gauge_inc, c"inc($self, amount=1)\n--\n\nAdds ``amount``."),
    (c"dec", gauge_dec, c"dec($self, amount=1)\n--\n\nTakes ``amount`` away."),
    (c"set", gauge_set, c"set($self, value)\n--\n\nSets it. NaN says \"not known\"."),
    (c"labels", labels::<Gauge>, LABELS),
];
const HISTOGRAM: &[Named] = &[
    (c"observe", observe, c"observe($self, amount, exemplar=None)\n--\n\nCounts ``amount`` in its bucket."),
    (c"labels", labels::<Histogram>, LABELS),
];
const LABELS: &CStr =
    c"labels($self, *labelvalues, **labelkwargs)\n--\n\nThe series at these label values, by position or by name.";

/// Puts the methods on their classes.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    put(&py.get_type::<Counter>(), COUNTER)?;
    put(&py.get_type::<Gauge>(), GAUGE)?;
    put(&py.get_type::<Histogram>(), HISTOGRAM)
}

/// Puts the methods of a native class once more on a class made of it, and returns that.
///
/// CPython calls a descriptor without checks of its own where `self` is of the very class that the descriptor names, and not of one
/// derived from it (3.11 and later, PEP 659): that is 6 of 20 ns.
#[pyfunction]
pub(crate) fn quick<'py>(class: Bound<'py, PyType>) -> PyResult<Bound<'py, PyType>> {
    if class.is_subclass_of::<Counter>()? {
        put(&class, COUNTER)?;
    } else if class.is_subclass_of::<Gauge>()? {
        put(&class, GAUGE)?;
    } else if class.is_subclass_of::<Histogram>()? {
        put(&class, HISTOGRAM)?;
    } else {
        return Err(PyTypeError::new_err("only a class of instruments has quick methods"));
    }
    Ok(class)
}

/// Each method expects `self` to be an instance of the native class that `class` is, or is made of.
fn put(class: &Bound<'_, PyType>, methods: &[Named]) -> PyResult<()> {
    let py = class.py();
    for (name, method, doc) in methods {
        // The descriptor reads this for as long as it lives, and the module is never unloaded.
        let definition = Box::leak(Box::new(ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: *method },
            ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
            ml_doc: doc.as_ptr(),
        }));
        // SAFETY: the class is a type object, the definition lives for ever, and a new reference or an error comes back.
        let descriptor =
            unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(class.as_type_ptr(), definition))? };
        class.setattr(&*name.to_string_lossy(), descriptor)?;
    }
    Ok(())
}

/// What `self` holds.
///
/// # Safety
/// `this` is an instance of `T`, the interpreter's lock is held, and `T` is frozen: nobody has it to write.
#[inline]
unsafe fn held<'a, T: PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + Sync>(this: *mut PyObject) -> &'a T {
    // SAFETY: the caller's promises; the caller of the method holds `self` until it returns.
    unsafe {
        let py = Python::assume_attached();
        let object: Borrowed<'a, 'a, PyAny> = Borrowed::from_ptr(py, this);
        let object = object.cast_unchecked::<T>();
        &*std::ptr::from_ref(object.get())
    }
}

/// A number that is a float or an int and nothing derived from them, so that no host code runs.
///
/// # Safety
/// `object` is an object, and the interpreter's lock is held.
#[inline]
unsafe fn number(object: *mut PyObject) -> Option<f64> {
    // SAFETY: the caller's promises; an int that is too large raises, which is taken back.
    unsafe {
        if ffi::PyFloat_CheckExact(object) != 0 {
            return Some(ffi::PyFloat_AsDouble(object));
        }
        if ffi::PyLong_CheckExact(object) == 0 {
            return None;
        }
        let value = ffi::PyLong_AsDouble(object);
        if value == -1.0 && !ffi::PyErr_Occurred().is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        Some(value)
    }
}

/// The only argument, by position, if it is a plain number.
///
/// # Safety
/// As CPython calls a method.
#[inline]
unsafe fn only(arguments: *const *mut PyObject, count: ffi::Py_ssize_t, names: *mut PyObject) -> Option<f64> {
    // SAFETY: there is an argument.
    if count == 1 && names.is_null() { unsafe { number(*arguments) } } else { None }
}

#[inline]
fn none() -> *mut PyObject {
    // SAFETY: `None` is there as long as the interpreter, whose lock is held.
    unsafe { ffi::Py_NewRef(ffi::Py_None()) }
}

/// Calls the method behind an underscore with the same arguments.
///
/// # Safety
/// As CPython calls a method.
#[cold]
unsafe fn slowly(
    this: *mut PyObject,
    name: &CStr,
    arguments: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: arguments by position come first, then those of `names`, a tuple of text. What fails returns null with its
    // exception set, and what was made is released: `Py_XDECREF` takes null.
    unsafe {
        let method = ffi::PyObject_GetAttrString(this, name.as_ptr().cast::<c_char>());
        let by_position = ffi::PyTuple_New(count);
        let by_name = if names.is_null() { std::ptr::null_mut() } else { ffi::PyDict_New() };
        let mut fine = !method.is_null() && !by_position.is_null() && (names.is_null() || !by_name.is_null());
        if fine {
            for at in 0..count {
                ffi::PyTuple_SetItem(by_position, at, ffi::Py_NewRef(*arguments.offset(at)));
            }
            let named = if names.is_null() { 0 } else { ffi::PyTuple_Size(names) };
            for at in 0..named {
                let (name, value) = (ffi::PyTuple_GetItem(names, at), *arguments.offset(count + at));
                fine = fine && ffi::PyDict_SetItem(by_name, name, value) == 0;
            }
        }
        let result = if fine { ffi::PyObject_Call(method, by_position, by_name) } else { std::ptr::null_mut() };
        for made in [method, by_position, by_name] {
            ffi::Py_XDECREF(made);
        }
        result
    }
}

unsafe extern "C" fn counter_inc(
    this: *mut PyObject,
    arguments: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: as CPython calls a method.
    unsafe {
        if count == 0
            && names.is_null()
            && let Some(counter) = held::<Counter>(this).series()
        {
            // The interpreter's lock is held.
            counter.inc_serially();
            return none();
        }
        counter_add(this, arguments, count, names)
    }
}

/// The rest of [`counter_inc`]: apart, so that the former saves no registers.
#[inline(never)]
unsafe extern "C" fn counter_add(
    this: *mut PyObject,
    arguments: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: as CPython calls a method.
    unsafe {
        if let (Some(counter), Some(by)) = (held::<Counter>(this).series(), only(arguments, count, names))
            && counter.add(by).is_ok()
        {
            return none();
        }
        slowly(this, c"_inc", arguments, count, names)
    }
}

/// A method that takes one number: what it does with it, what it takes when there is none, and which method does the rest.
macro_rules! of_a_number {
    ($name:ident, $class:ty, $otherwise:expr, $slowly:literal, |$series:ident, $number:ident| $act:expr) => {
        unsafe extern "C" fn $name(
            this: *mut PyObject,
            arguments: *const *mut PyObject,
            count: ffi::Py_ssize_t,
            names: *mut PyObject,
        ) -> *mut PyObject {
            // SAFETY: as CPython calls a method.
            unsafe {
                let otherwise: Option<f64> = $otherwise;
                let number = match otherwise {
                    Some(number) if count == 0 && names.is_null() => Some(number),
                    _ => only(arguments, count, names),
                };
                if let (Some($series), Some($number)) = (held::<$class>(this).series(), number) {
                    $act;
                    return none();
                }
                slowly(this, $slowly, arguments, count, names)
            }
        }
    };
}

of_a_number!(gauge_inc, Gauge, Some(1.0), c"_inc", |gauge, by| gauge.add(by));
of_a_number!(gauge_dec, Gauge, Some(1.0), c"_dec", |gauge, by| gauge.add(-by));
of_a_number!(gauge_set, Gauge, None, c"_set", |gauge, value| gauge.set(value));
of_a_number!(observe, Histogram, None, c"_observe", |histogram, value| histogram.observe(value));

/// A class whose instances have children by label values.
pub(super) trait Parent {
    fn children(&self) -> &Children;
}

unsafe extern "C" fn labels<T>(
    this: *mut PyObject,
    arguments: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject
where
    T: PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + Sync + Parent,
{
    // SAFETY: as CPython calls a method.
    unsafe {
        if names.is_null() && count > 0 {
            let found = held::<T>(this).children().find(std::slice::from_raw_parts(arguments, count as usize));
            if !found.is_null() {
                return ffi::Py_NewRef(found);
            }
        }
        slowly(this, c"_labels", arguments, count, names)
    }
}
