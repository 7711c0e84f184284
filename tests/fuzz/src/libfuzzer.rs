//! The long run: libFuzzer looks for new paths by coverage. The variable `UPLIFTED_OPS_FUZZ_TARGET` names the target; with
//! `UPLIFTED_OPS_FUZZ_SEEDS` set its seeds are written into that folder before. `make fuzz` does all of it.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use uplifted_fuzz::Target;

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(init: {
    let name = std::env::var("UPLIFTED_OPS_FUZZ_TARGET").expect("UPLIFTED_OPS_FUZZ_TARGET names no target");
    let target = TARGET.get_or_init(|| uplifted_fuzz::target(&name));
    if let Some(folder) = std::env::var_os("UPLIFTED_OPS_FUZZ_SEEDS") {
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(std::path::Path::new(&folder).join(format!("seed-{number}")), seed).unwrap();
        }
    }
}, |data: &[u8]| {
    if let Some(Err(message)) = TARGET.get().map(|target| target.check(data)) {
        panic!("{message}");
    }
});
