//! The shortest host: the README's example.

use uplifted_ops::ops::Ops;

fn main() -> uplifted_ops::Result<()> {
    uplifted_ops::worker::run_if_worker();
    let ops = Ops::builder().root(std::env::args().nth(1).unwrap_or("/opt/uplifted".into())).build()?.blocking();
    let made = ops.call(Default::default(), "backup.create", serde_json::json!({ "label": "nightly" }))?;
    println!("{} {}", made.response["snapshot_id"], made.response["outcome"]);
    Ok(())
}
