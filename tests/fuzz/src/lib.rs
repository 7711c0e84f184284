//! Fuzz targets for every parser that reads what a target, a file or a person hands in.
//!
//! One table of [`Target`]s, two ways to run it: `cargo test -p uplifted-fuzz` makes a few hundred seeded mutations of real
//! inputs for each on the stable compiler ([`run`]), and `make fuzz TARGET=name SECONDS=60` lets libFuzzer look for new
//! paths by coverage.
//!
//! Whatever the input is, [`Target::check`] holds the parser to this:
//! - it answers or refuses, and does not panic; an internal error is a panic by another name;
//! - it allocates no more than a bounded number of bytes for each byte of the input, and comes back soon;
//! - what it read is written again as the same bytes, where the format has one form, and otherwise as bytes that say the
//!   same;
//! - a refusal says something, and is damage, a lack of support or a refusal, not a failure of the machine.

pub mod meter;
pub mod mutate;
pub mod run;
pub mod seeds;
mod targets;

use std::time::Duration;

use uplifted_ops::testing::parsers::Form;
use uplifted_ops::{ErrorKind, Result};

/// How long one input may keep a processor busy, also in a build without optimisation: only what does not end takes longer.
const HANG: Duration = Duration::from_secs(20);

/// A parser, and what it is fed with.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it is called on the command line.
    pub name: &'static str,
    /// The parser.
    pub read: fn(&[u8]) -> Result<Form>,
    /// Inputs that it takes, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many bytes it may have allocated at once, whatever the input is …
    pub floor: usize,
    /// … and for each byte of the input.
    pub factor: usize,
    /// How many mutations the short run makes.
    pub short: u32,
}

impl Target {
    /// Feeds the parser, and says what is wrong with what it did.
    ///
    /// # Errors
    /// A sentence for people. A panic of the parser passes through.
    pub fn check(&self, input: &[u8]) -> Result<(), String> {
        let started = busy();
        let (read, peak) = meter::peak_of(|| (self.read)(input));
        let allowed = self.floor + self.factor * input.len();
        if peak > allowed {
            return Err(format!(
                "{} bytes of input took {peak} bytes of memory, and {allowed} are allowed",
                input.len()
            ));
        }
        let took = busy().saturating_sub(started);
        if took > HANG {
            return Err(format!("{} bytes of input took {took:?}", input.len()));
        }
        match read {
            Ok(Form::Read) => Ok(()),
            Ok(Form::Only(again)) if again == input => Ok(()),
            Ok(Form::Only(again)) => Err(format!("it is written as another one: {:?}", lossy(&again))),
            Ok(Form::Same(again)) => match (self.read)(&again) {
                Ok(Form::Same(third)) if third == again => Ok(()),
                other => Err(format!("{:?}, which it is written as, reads as {other:?}", lossy(&again))),
            },
            Err(error) => {
                let expected = matches!(
                    error.kind(),
                    ErrorKind::Corrupt
                        | ErrorKind::Unsupported
                        | ErrorKind::Refused
                        | ErrorKind::InvalidInput
                        | ErrorKind::NotFound
                        | ErrorKind::Denied
                        | ErrorKind::Busy
                );
                let stop = error.message().ends_with('.') && !error.message().ends_with("..");
                let says = error.message().len() >= 8 && !stop;
                if expected && says { Ok(()) } else { Err(format!("a bad error, {:?}: {error}", error.kind())) }
            }
        }
    }
}

/// The time that this thread was at work: a busy machine is no parser's fault.
fn busy() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned()
}

/// Every target.
pub fn targets() -> Vec<Target> {
    targets::all()
}

/// The target of this name.
///
/// # Panics
/// When there is none.
pub fn target(name: &str) -> Target {
    let all = targets();
    let found = all.iter().find(|target| target.name == name).copied();
    found.unwrap_or_else(|| {
        let names: Vec<&str> = all.iter().map(|target| target.name).collect();
        panic!("there is no fuzz target {name:?}; there are {}", names.join(", "))
    })
}
