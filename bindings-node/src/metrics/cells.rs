//! Memory in which JavaScript counts without a call: chunks over `SharedArrayBuffer`s, which JavaScript allocates and this
//! pins and reads.
//!
//! A clean-up hook folds them when the environment ends: on its own thread, and after its last line of JavaScript. So what a
//! worker counted is there however it ended.

use std::cell::RefCell;
use std::ptr::NonNull;
use std::rc::Rc;

use napi::Env;
use napi::bindgen_prelude::Float64Array;
use napi_derive::napi;
use uplifted_ops::Error;
use uplifted_ops::metrics::ForeignCells;

use crate::error::thrown;

/// The cells of this environment.
#[napi]
pub struct NativeCells(Rc<RefCell<Option<Lent>>>);

/// Dropped in this order: what was counted is folded while its memory is still there.
struct Lent {
    cells: ForeignCells,
    /// Each holds a reference, so that JavaScript cannot collect it as garbage.
    chunks: Vec<Float64Array>,
}

#[napi]
impl NativeCells {
    /// Makes an environment without chunks.
    #[napi(constructor)]
    pub fn new(env: Env) -> napi::Result<Self> {
        let lent = Rc::new(RefCell::new(Some(Lent { cells: ForeignCells::new(), chunks: Vec::new() })));
        env.add_env_cleanup_hook(Rc::clone(&lent), |lent| drop(lent.take()))?;
        Ok(Self(lent))
    }

    /// Cells of a chunk.
    #[napi(getter)]
    pub fn chunk(&self) -> u32 {
        ForeignCells::CHUNK as u32
    }

    /// Lends a chunk: an array over a `SharedArrayBuffer`, so that nobody can move or detach it.
    #[napi]
    pub fn attach(&self, number: u32, chunk: Float64Array) -> napi::Result<()> {
        let mut lent = self.0.borrow_mut();
        let Some(lent) = lent.as_mut() else { return Err(thrown(&Error::internal("the environment has ended"))) };
        let memory = NonNull::from(chunk.as_ref()).cast();
        if chunk.len() != ForeignCells::CHUNK || !memory.is_aligned() {
            return Err(thrown(&Error::internal("a chunk of cells has another size")));
        }
        // SAFETY: the size and the place were checked; the array goes into `chunks`, which is dropped after `cells`; JavaScript
        // writes an element of 8 aligned bytes at once, and has ended when the hook is called.
        if !unsafe { lent.cells.attach(number, memory) } {
            return Err(thrown(&Error::internal(format!("chunk {number} is attached twice"))));
        }
        lent.chunks.push(chunk);
        Ok(())
    }

    /// Does something with the cells, while there are any.
    pub(super) fn with<R>(&self, then: impl FnOnce(&ForeignCells) -> R) -> Option<R> {
        self.0.borrow().as_ref().map(|lent| then(&lent.cells))
    }
}
