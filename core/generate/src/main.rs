//! `make generate`: writes the generated files, or with `--check` says which are stale.

use std::path::Path;
use std::process::ExitCode;

use uplifted_ops_generate::{outputs, stale, write};

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--check"] => true,
        _ => {
            eprintln!("usage: uplifted-ops-generate [--check]");
            return ExitCode::from(2);
        }
    };
    match run(&root, check) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(2)
        }
    }
}

fn run(root: &Path, check: bool) -> uplifted_ops::Result<ExitCode> {
    let outputs = outputs()?;
    if check {
        let stale = stale(root, &outputs);
        for path in &stale {
            eprintln!("stale: {}", path.display());
        }
        if !stale.is_empty() {
            eprintln!("hint: run `make generate` and commit what it writes");
            return Ok(ExitCode::FAILURE);
        }
        return Ok(ExitCode::SUCCESS);
    }
    for path in write(root, &outputs)? {
        println!("wrote {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
