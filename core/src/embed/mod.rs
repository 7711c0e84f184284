//! What every binding shares: components written in another language, and operations called by name.
//!
//! A binding (Python, Node.js) wraps a live object of its language as a [`Plugin`]: something whose methods are
//! called by name with JSON arguments and, for two of them, a block of bytes. Everything else is here and is
//! written once: what an object must have, deadlines, cancellation, panics, wrong answers, the contracts,
//! and the public suites run against plugins.
//!
//! | a binding wants to | it calls |
//! | --- | --- |
//! | wrap an object | implements [`Plugin`]; looks for each name of [`methods`] and puts those it found into [`PluginFacts`] |
//! | register it | [`OpsBuilder::plugin`](crate::ops::OpsBuilder::plugin)`(Contract::Target, "offsite", plugin)?` |
//! | use it without `Ops` | [`store`], [`target`], [`check`], [`sink`] |
//! | turn an exception into an error | [`Raised`] |
//! | call an operation | [`call`]: JSON text in, JSON text and a flag out; [`begin`] for an event loop |
//! | end cleanly | [`Ops::close`](crate::ops::Ops::close) |
//! | certify a plugin (feature `testing`) | `embed::suites::{target, store, check, sink}` with a scene, itself a [`Plugin`] |
//!
//! # The objects
//!
//! Method and argument names are those of the contracts. In a language that writes `snapshotTo` the binding
//! says [`Spelling::Camel`], and then names of methods in messages, names of arguments and the fields of answers are
//! translated here: the binding looks `snapshot_to` up under [`Spelling::write`] and passes JSON through.
//!
//! | contract | methods (arguments) → answer |
//! | --- | --- |
//! | [`Contract::Store`] | `stats()`, `verify(depth)`, `snapshot_to(dir)`, `check_copy(dir, depth)`, `restore_from(dir)`; optional `maintain(tasks)`, `inspect_copy(dir, rows, queries)` |
//! | [`Contract::Target`] | `put(key, bytes, if_absent)`, `upload(key, expected_bytes)` → an object, `get(key, start, end)` → bytes, `list(prefix, after)`, `stat(key)`, `delete(key)`; optional `free_bytes()` |
//! | [`Contract::Upload`] | `write(bytes)`, `finish()`, `abort()`; optional `read_back(start, end)` → bytes |
//! | [`Contract::Check`] | `check()` |
//! | [`Contract::Sink`] | `export(snapshot)` |
//! | [`Contract::Pause`] | `before()`, `after()` |
//!
//! [`methods`] has them with the order of their arguments and the shape of each answer. A store has a value
//! `capability` beside its methods, a target may have one: an object, or a method without arguments that the binding
//! calls once while it wraps. What may be left out of answers and capabilities:
//!
//! | left out | means |
//! | --- | --- |
//! | `capability` of a target | `kind` is the class's name, `location` the component's, the rest is `false` |
//! | `capability.side_files`, `.maintenance`, `.folder`, `.put_if_absent`, `.read_before_finish` | none, none, none, `false`, `false` |
//! | `capability.file` of a store | is an error: the file that is the live database must be known; `null` for a server |
//! | `maintain` | every task is skipped, once `stats` has found the database; refused when `capability.maintenance` names some |
//! | `inspect_copy` | unsupported: drills count no rows and ask no queries |
//! | `free_bytes` | unknown |
//! | `read_back` | unsupported; refused when `capability.read_before_finish` is set |
//! | answer of `put` without `if_absent` | `true` |
//! | answer of `get`: null | there is no such object |
//! | `log_bytes`, `details` of `stats` | 0, none |
//! | `taken_at`, `size_bytes`, `details` of `snapshot_to` | when the call began, the sum of the files, none |
//! | `problems` of `verify` and `check_copy`; `observed` and `unit` of `check` | none |
//! | answers of `delete`, `restore_from`, `write`, `finish`, `abort`, `export`, `before`, `after` | are not looked at |
//!
//! An object need not check what it is given: keys, lengths of blocks, ranges and a scope that is cancelled already are
//! refused before it is called. What it answers is checked: a wrong shape, more bytes than asked for, a list
//! that is not in order are errors that name the component, the method, what came and what was wanted.
//!
//! A store's copy is called as the live database is called, since a backup keeps it under that name: `check_copy` meets
//! it again in a folder of its own when a snapshot is verified or restored.
//!
//! # Numbers
//!
//! `export` is given one object. Counters are named without their `_total`. What JSON has no number for is one of the
//! words `NaN`, `+Inf`, `-Inf`. `counts` are those of each bucket alone, one more than there are `bounds`:
//!
//! ```json
//! {"families": [
//!   {"name": "shop_requests", "kind": "counter", "help": "Requests answered", "unit": null,
//!    "series": [{"labels": [["path", "/a"], ["status", "200"]], "value": {"number": 3.0}}]},
//!   {"name": "shop_took_seconds", "kind": "histogram", "help": "Time", "unit": "seconds",
//!    "series": [{"labels": [["path", "/a"]],
//!                "value": {"distribution": {"bounds": [0.1, 1.0], "counts": [3, 0, 1], "sum": 9.3}}}]}
//! ]}
//! ```
//!
//! `kind` is `counter`, `gauge` or `histogram`: the last has distributions, the others have numbers.
//!
//! # Time
//!
//! Each call has a deadline ([`OpsBuilder::callback_deadline`](crate::ops::OpsBuilder::callback_deadline), ten times as
//! long for work on a whole database), which progress restarts. When the scope is cancelled the object has
//! a moment to end, half a second, ten times that for work on a whole database. Then, and when the deadline has passed,
//! the future of [`Plugin::call`] is dropped, and what comes later is nobody's. An upload that is dropped while it is
//! open, or whose `finish` fails, is aborted.

mod adapt;
mod answer;
mod call;
mod caller;
mod contract;
mod link;
mod plugin;
#[cfg(any(test, feature = "testing"))]
pub mod suites;

pub(crate) use adapt::{Component, Registered};
pub use adapt::{check, sink, store, target};
pub use call::{Answered, Begun, begin, call};
pub use contract::{Contract, Method, methods};
pub use plugin::{Argument, Plugin, PluginCall, PluginFacts, PluginReply, Raised, Spelling};
