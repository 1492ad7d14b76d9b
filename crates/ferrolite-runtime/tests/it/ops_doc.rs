//! `docs/OPS.md` is generated from the catalogue; this keeps it current.

use ferrolite_ops::quantize::OutputRule;
use ferrolite_ops::{OPS, OpId};
use std::fmt::Write;
use std::path::Path;

#[test]
fn ops_doc_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/OPS.md");
    let want = table();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &want).expect("docs/OPS.md can be written");
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(have == want, "docs/OPS.md is stale: run `cargo xtask ops-doc`");
}

fn table() -> String {
    let mut rows: Vec<_> =
        OPS.iter().map(|op| (matches!(op.id(), OpId::Custom(_)), op.id().to_string(), *op)).collect();
    rows.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let mut out = String::from(
        "# Operators\n\nGenerated from the catalogue by `cargo xtask ops-doc`; do not edit.\n\n\
         | operator | versions | fast kernels | quantized | gradient | cases |\n|---|---|---|---|---|--:|\n",
    );
    for (_, name, op) in rows {
        let fast: Vec<_> = op.fast().iter().map(|kernel| kernel.name).collect();
        let quantized = op.quantize().map_or(String::from("–"), |rule| {
            let types = [(rule.int8, "int8"), (rule.int16, "int16"), (rule.hybrid, "hybrid")];
            let types: Vec<_> = types.iter().filter(|t| t.0).map(|t| t.1).collect();
            let output = match rule.output {
                OutputRule::Free => "",
                OutputRule::SameAsInput => ", same scale",
                OutputRule::Fixed { .. } => ", fixed output",
                OutputRule::NotQuantized => ", output not quantized",
            };
            format!("{}{output}", types.join(" "))
        });
        let versions = op.versions();
        let gradient = if op.gradient().is_some() { "yes" } else { "–" };
        let fast = if fast.is_empty() { "–".into() } else { fast.join(", ") };
        let (first, last, cases) = (versions.start(), versions.end(), op.cases().len());
        let _ = writeln!(out, "| {name} | {first}–{last} | {fast} | {quantized} | {gradient} | {cases} |");
    }
    out
}
