//! Refuses a Python that the wheel would not work with, by name and before anything is compiled.

fn main() {
    pyo3_build_config::add_extension_module_link_args();
    assert!(
        !pyo3_build_config::get().target_abi().kind().is_free_threaded(),
        "uplifted-ops does not support free-threaded builds of Python yet: build the wheel with the ordinary python3"
    );
}
