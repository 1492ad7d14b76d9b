//! The architecture's arrows: a crate uses only crates of lower floors.

use crate::root;

/// Crates by floor, lowest first; `ferrolite-testkit` may be used by anyone's tests.
const FLOORS: &[&[&str]] = &[
    &["ferrolite-model", "ferrolite-kernels"],
    &["ferrolite-ops"],
    &["ferrolite-runtime"],
    &["ferrolite-quantize", "ferrolite-train"],
    &["ferrolite"],
    &["ferrolite-cli"],
    &["ferrolite-python"],
];

/// Checks the `[dependencies]` of every crate.
pub(crate) fn check() -> Result<(), String> {
    let floor_of = |name: &str| FLOORS.iter().position(|floor| floor.contains(&name));
    for (floor, crates) in FLOORS.iter().enumerate() {
        for name in *crates {
            let path = root().join("crates").join(name).join("Cargo.toml");
            let manifest = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            for used in dependencies(&manifest) {
                match floor_of(used) {
                    Some(below) if below < floor => {}
                    Some(_) => return Err(format!("{name} must not use {used}: arrows go downwards only")),
                    None => {}
                }
            }
        }
    }
    Ok(())
}

/// Names in the `[dependencies]` section.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or("");
    let section = section.split("\n[").next().unwrap_or("");
    section.lines().filter_map(|line| line.split(['.', '=', ' ']).next()).filter(|name| !name.is_empty())
}
