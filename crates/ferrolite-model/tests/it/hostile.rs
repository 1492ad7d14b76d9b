//! Damaged and hostile files are refused or read, without a panic and in bounded memory.

use ferrolite_model::{BuiltinOperator, BuiltinOptions, Model, ModelBuilder, Quantization, TensorType};
use ferrolite_testkit::{Rng, opsuite_dir, skipped};

/// A small model with most parts of the format.
fn small() -> Vec<u8> {
    let mut b = ModelBuilder::new();
    let x = b.quantized("x", TensorType::Int8, &[-1, 4], Quantization::per_tensor(0.5, 3));
    b.graph_mut().inputs.push(x);
    let scales = Quantization::per_channel(vec![0.25, 0.5], 0);
    let w = b.constant_quantized("w", TensorType::Int8, &[2, 4], vec![1u8; 8], scales);
    let y = b.quantized("y", TensorType::Int8, &[-1, 2], Quantization::per_tensor(1.0, 0));
    let options = BuiltinOptions::FullyConnectedOptions(Box::default());
    b.node(BuiltinOperator::FULLY_CONNECTED, 4, options, &[Some(x), Some(w), None], &[y]);
    let z = b.tensor("z", TensorType::String, &[]);
    b.custom("Mine", b"options".as_slice(), &[Some(y)], &[z]);
    b.output(z);
    b.signature("serving_default");
    b.metadata("note", b"text".as_slice());
    b.build().unwrap().to_bytes().unwrap()
}

/// Reads, and where that works, writes. Returns whether it worked.
fn attempt(bytes: &[u8]) -> bool {
    match Model::from_bytes(bytes) {
        Ok(model) => {
            // A model that reads also writes, and comes back (NaNs aside, which equal nothing).
            let written = model.to_bytes().expect("a model that was read can be written");
            Model::from_bytes(written).expect("a model that was written can be read");
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

#[test]
fn every_prefix_is_refused() {
    let bytes = small();
    assert!(attempt(&bytes));
    for len in 0..bytes.len() {
        // The last bytes may be padding that nothing refers to.
        assert!(!attempt(&bytes[..len]) || bytes.len() - len < 16, "{len} of {} bytes", bytes.len());
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let mut files = vec![small()];
    match opsuite_dir("damaged_bytes_never_panic, with files of the suite") {
        None => {}
        Some(dir) => {
            let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
            paths.retain(|path| path.extension().is_some_and(|e| e == "tflite"));
            paths.sort();
            files.extend(paths.iter().step_by(61).map(|path| std::fs::read(path).unwrap()));
        }
    }
    let mut rng = Rng::new(1);
    let mut readable = 0;
    for file in files.iter().filter(|file| file.len() < 1 << 16) {
        for round in 0..400 {
            let mut bytes = file.clone();
            for _ in 0..=rng.below(4) {
                let at = rng.below(bytes.len());
                match round % 3 {
                    0 => bytes[at] = rng.u64() as u8,
                    1 => bytes[at] ^= 1 << rng.below(8),
                    _ => {
                        // Offsets, counts and indices are whole words.
                        let at = at / 4 * 4;
                        let extremes = [0u32, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, bytes.len() as u32];
                        let word = extremes[rng.below(extremes.len())].to_le_bytes();
                        if let Some(target) = bytes.get_mut(at..at + 4) {
                            target.copy_from_slice(&word);
                        }
                    }
                }
            }
            readable += usize::from(attempt(&bytes));
        }
    }
    assert!(readable > 0, "some damage is harmless");
}

#[test]
fn hostile_files_are_refused_or_read() {
    let test = "hostile_files_are_refused_or_read";
    let Some(dir) = opsuite_dir(test) else { return };
    let Ok(entries) = std::fs::read_dir(dir.join("invalid")) else {
        return skipped(test, "the suite has no folder of invalid files");
    };
    let mut refused = 0;
    for path in
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "tflite"))
    {
        refused += usize::from(!attempt(&std::fs::read(&path).unwrap()));
    }
    assert!(refused > 100, "{refused}");
    if let Some(peak) = peak_memory() {
        assert!(peak < 1 << 30, "{peak} bytes at the peak");
    }
}

#[test]
fn tables_that_share_everything_cannot_ask_for_much_memory() {
    // A vector of subgraphs, all the same table: the tree is far larger than the file.
    let bytes = small();
    let mut file = Vec::new();
    let count = 200_000u32;
    // Root table with `subgraphs` only; positions in bytes.
    let (vtable, root, vector) = (8u32, 20u32, 28u32);
    file.extend(root.to_le_bytes());
    file.extend(b"TFL3");
    for field in [10u16, 8, 0, 0, 4, 0] {
        file.extend(field.to_le_bytes());
    }
    file.extend(((root - vtable) as i32).to_le_bytes());
    file.extend((vector - (root + 4)).to_le_bytes());
    file.extend(count.to_le_bytes());
    let table = vector + 4 + 4 * count + 4;
    for i in 0..count {
        file.extend((table - (vector + 4 + 4 * i)).to_le_bytes());
    }
    // An empty table behind its vtable.
    file.extend([4u16, 4].iter().flat_map(|v| v.to_le_bytes()));
    file.extend(4i32.to_le_bytes());
    let error = Model::from_bytes(file).unwrap_err().to_string();
    assert!(error.contains("Too many tables"), "{error}");
    assert!(attempt(&bytes));
}

/// Peak of this process's memory, on Linux.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? << 10)
}
