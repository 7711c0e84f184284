//! What tests draw by chance: one generator, whose seed is printed and can be given again.
//!
//! `UPLIFTED_OPS_SEED=…` with the number that a failed run printed plays that run again, in every suite.

pub use fastrand::Rng;

/// The variable with the seed of a run.
const SEED: &str = "UPLIFTED_OPS_SEED";

/// A generator with the seed of the environment, or with a new one; prints it beside the name of the test.
///
/// # Panics
/// When the variable holds something else than a number from 0 to 2^64 - 1.
pub fn seeded(test: &str) -> Rng {
    let seed = match std::env::var(SEED) {
        Ok(given) => given.parse().unwrap_or_else(|_| panic!("{SEED}={given}: a seed is a whole number")),
        Err(_) => fastrand::u64(..),
    };
    println!("{test}: {SEED}={seed}");
    Rng::with_seed(seed)
}

/// Bytes that do not compress.
pub fn bytes(random: &mut Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    bytes(&mut Rng::with_seed(seed), len)
}
