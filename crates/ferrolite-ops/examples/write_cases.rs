//! Writes every generated case of the catalogue as a `.tflite` file, for comparing with other runtimes:
//!
//! ```sh
//! cargo run --release -p ferrolite-ops --example write_cases -- DIR
//! ```

use ferrolite_ops::OPS;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("usage: write_cases DIR")?);
    std::fs::create_dir_all(&dir)?;
    let mut count = 0;
    for op in OPS {
        for case in op.cases() {
            let name: String = format!("{}__{}", op.id(), case.name).to_lowercase();
            let name = name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "_");
            // Some names differ only in characters that a file name cannot hold.
            count += 1;
            case.model.write_file(dir.join(format!("{name}__{count}.tflite")))?;
        }
    }
    println!("{count} cases");
    Ok(())
}
