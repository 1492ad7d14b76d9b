//! Placeholder replaced by the training benchmark.
pub(crate) fn bench_train(_: &[&str]) -> Result<(), String> {
    Err("lands with ferrolite-train".into())
}
