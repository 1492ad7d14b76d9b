//! Runs the program.

use ferrolite::train::{Activation, Sequential};
use ferrolite::{Array, array, images};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with a model, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("ferrolite-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let network = Sequential::new(&[8, 8, 1]).names("image", "scores").conv_2d(4, 3, Activation::Relu);
        let model = network.flatten().dense(3, Activation::None).softmax().build(1).unwrap();
        model.write_file(dir.join("m.tflite")).unwrap();
        Scratch(dir)
    }

    /// Runs `ferrolite` in the folder.
    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferrolite"));
        command.args(args).current_dir(&self.0).env_remove("CARGO").output().unwrap()
    }

    /// Its standard output; it has to succeed.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}: {out}{err}");
        out
    }

    /// Its standard error; it has to fail with this code.
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn help_has_examples_everywhere() {
    let scratch = Scratch::new("help");
    has(&scratch.ok(&["--help"]), &["quickstart", "Examples:"]);
    for command in ["quickstart", "info", "run", "bench", "quantize", "compare", "lint"] {
        has(&scratch.ok(&[command, "--help"]), &["Examples:", &format!("ferrolite {command}")]);
    }
    has(&scratch.ok(&["train", "linear", "--help"]), &["Examples:", "--learning-rate"]);
    has(&scratch.ok(&["--version"]), &[env!("CARGO_PKG_VERSION")]);
}

#[test]
fn info_shows_the_parts_of_a_model() {
    let scratch = Scratch::new("info");
    let text = scratch.ok(&["info", "m.tflite"]);
    has(&text, &["float32 weights", "parameters   475", "CONV_2D", "FULLY_CONNECTED", "SOFTMAX", "largest constants"]);
    has(&text, &["image", "[?, 8, 8, 1]", "signature"]);
    has(
        &scratch.ok(&["info", "m.tflite", "--json"]),
        &["\"macs\": 1728", "\"is_known\": true", "\"type\": \"float32\""],
    );
    has(&scratch.ok(&["info", "m.tflite", "--dump"]), &["subgraph 0", "%0", "CONV_2D"]);
}

#[test]
fn run_takes_arrays_pictures_and_chance() {
    let scratch = Scratch::new("run");
    has(&scratch.ok(&["run", "m.tflite"]), &["random values (seed 1)", "output 0", "[1, 3]"]);

    std::fs::write(scratch.path("labels.txt"), "cat\ndog\nfish\n").unwrap();
    std::fs::write(scratch.path("p.png"), images::grey_png(&[99; 20 * 10], 20, 10).unwrap()).unwrap();
    let text = scratch.ok(&["run", "m.tflite", "--input", "p.png", "--labels", "labels.txt", "--top", "2"]);
    has(&text, &["p.png", "probability", " %"]);
    assert_eq!(["cat", "dog", "fish"].iter().filter(|name| text.contains(**name)).count(), 2, "{text}");

    array::write_npy(&scratch.path("x.npy"), &Array::from_f32(&[2, 8, 8, 1], &[0.5; 128])).unwrap();
    let text = scratch.ok(&["run", "m.tflite", "--input", "image=x.npy", "--output", "out", "--reference"]);
    has(&text, &["[2, 3]", "wrote out"]);
    let written = array::read_npy(&scratch.path("out/scores.npy")).unwrap();
    assert_eq!(written.shape, [2, 3]);
    assert!((written.to_f64().unwrap().iter().sum::<f64>() - 2.0).abs() < 1e-5);
}

#[test]
fn bench_measures() {
    let scratch = Scratch::new("bench");
    let text = scratch.ok(&["bench", "m.tflite", "--runs", "3", "--profile"]);
    has(&text, &["median", "over 3 runs", "p90", "arena", "GMAC/s", "steps", "CONV_2D", "total"]);
    let text = scratch.ok(&["bench", "m.tflite", "--runs", "3", "--threads", "2", "--json"]);
    has(&text, &["\"threads\": 2", "\"runs\": 3", "\"median\":", "\"read_us\":"]);
    let text = scratch.ok(&["bench", "m.tflite", "--runs", "3", "--html", "r.html"]);
    has(&text, &["at most", "GB/s", "of roofline", "compute", "wrote r.html"]);
    has(&std::fs::read_to_string(scratch.path("r.html")).unwrap(), &["<svg", "CONV_2D", "operations per byte"]);
}

#[test]
fn quantize_writes_smaller_models() {
    let scratch = Scratch::new("quantize");
    array::write_npy(&scratch.path("x.npy"), &Array::from_f32(&[4, 8, 8, 1], &[0.5; 256])).unwrap();
    has(&scratch.ok(&["quantize", "m.tflite", "-o", "h.tflite", "--mode", "float16"]), &["h.tflite", "%"]);
    scratch.ok(&["quantize", "m.tflite", "-o", "i.tflite", "--mode", "int8-only", "--data", "x.npy"]);
    has(&scratch.ok(&["info", "i.tflite"]), &["int8 weights and activations"]);
    has(&scratch.ok(&["run", "i.tflite"]), &["int8 [1, 8, 8, 1]"]);
    let error = scratch.fails(1, &["quantize", "m.tflite", "-o", "n.tflite", "--mode", "int8"]);
    has(&error, &["error:", "help:", "--data"]);
    assert!(!scratch.path("n.tflite").exists());
}

#[test]
fn quantize_takes_folders_and_names_and_says_what_is_wrong_with_them() {
    let scratch = Scratch::new("calibrate");
    std::fs::create_dir_all(scratch.path("photos")).unwrap();
    std::fs::create_dir_all(scratch.path("empty")).unwrap();
    for i in 0..4u8 {
        let png = images::grey_png(&[i * 60; 20 * 10], 20, 10).unwrap();
        std::fs::write(scratch.path(&format!("photos/{i}.png")), png).unwrap();
    }
    for method in ["min-max", "moving-average", "percentile", "percentile=99", "entropy", "mse"] {
        let quantize = ["quantize", "m.tflite", "-o", "q.tflite", "--mode", "int8", "--data", "photos"];
        scratch.ok(&[&quantize[..], &["--calibration", method, "--samples", "3"]].concat());
    }
    let uint8 = ["quantize", "m.tflite", "-o", "u.tflite", "--mode", "int8-only", "--io-type", "uint8"];
    scratch.ok(&[&uint8[..], &["--data", "image=photos"]].concat());
    has(&scratch.ok(&["run", "u.tflite"]), &["uint8 [1, 8, 8, 1]", "uint8 [1, 3]"]);

    let npy = |name: &str, array: &Array| array::write_npy(&scratch.path(name), array).unwrap();
    npy("shape.npy", &Array::from_f32(&[4, 1, 64], &[0.5; 256]));
    npy("nan.npy", &Array::from_f32(&[2, 8, 8, 1], &[f32::NAN; 128]));
    npy("none.npy", &Array::from_f32(&[0, 8, 8, 1], &[]));
    npy("bytes.npy", &Array { ty: ferrolite::TensorType::UInt8, shape: vec![1, 8, 8, 1], bytes: vec![9; 64] });
    for (model, data, parts) in [
        ("m.tflite", "shape.npy", ["[4, 1, 64]", "[samples, 8, 8, 1]"]),
        ("m.tflite", "nan.npy", ["sample 0", "NaN"]),
        ("m.tflite", "none.npy", ["no samples", "help:"]),
        ("m.tflite", "bytes.npy", ["uint8", "float32"]),
        ("m.tflite", "empty", ["empty: ", "neither pictures"]),
        ("m.tflite", "other=photos", ["\"other\"", "image"]),
        ("m.tflite", "missing.npz", ["missing.npz", "right path"]),
        ("u.tflite", "photos", ["quantized already", "uint8"]),
    ] {
        has(&scratch.fails(1, &["quantize", model, "-o", "n.tflite", "--mode", "int8", "--data", data]), &parts);
        assert!(!scratch.path("n.tflite").exists(), "{data}");
    }
    for mode in ["dynamic", "weight-only"] {
        let m = ["quantize", "m.tflite", "-o", "w.tflite", "--mode", mode, "--weights", "int4"];
        has(&scratch.fails(1, &m), &["nothing to quantize", "fewer than 1024"]);
    }
    std::fs::write(
        scratch.path("mixed.json"),
        r#"[{"operators": ["CONV_2D"], "scheme": "int8"}, {"tensors": "zz", "scheme": "float"}]"#,
    )
    .unwrap();
    let mixed = ["quantize", "m.tflite", "-o", "mixed.tflite", "--recipe", "mixed.json"];
    has(&scratch.fails(1, &mixed), &["note: rule 1", "--data"]);
    scratch.ok(&[&mixed[..], &["--data", "photos"]].concat());
    has(&scratch.ok(&["info", "mixed.tflite"]), &["QUANTIZE", "DEQUANTIZE"]);
    has(&scratch.fails(2, &mixed[..4]), &["--mode"]);
    let unknown = ["quantize", "m.tflite", "-o", "n.tflite", "--mode", "int8", "--calibration", "best"];
    has(&scratch.fails(2, &unknown), &["min-max", "entropy"]);
}

#[test]
fn compare_ranks_layers_and_writes_files() {
    let scratch = Scratch::new("compare");
    let values: Vec<f32> = (0..512).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
    array::write_npy(&scratch.path("x.npy"), &Array::from_f32(&[8, 8, 8, 1], &values)).unwrap();
    scratch.ok(&["quantize", "m.tflite", "-o", "q.tflite", "--mode", "int8", "--data", "x.npy"]);
    let compare = ["compare", "m.tflite", "q.tflite"];
    let files = ["--data", "x.npy", "--csv", "c.csv", "--html", "c.html", "--recipe", "r.json", "--worst", "1"];
    let text = scratch.ok(&[&compare[..], &files].concat());
    has(&text, &["output scores", "SNR", " dB", "one layer quantized alone", "CONV_2D", "wrote c.html"]);
    has(&std::fs::read_to_string(scratch.path("c.csv")).unwrap(), &["node,operator,tensor", "\"scores\",int8,true"]);
    has(&std::fs::read_to_string(scratch.path("c.html")).unwrap(), &["<svg", "Worst tensors", "scores"]);
    has(&std::fs::read_to_string(scratch.path("r.json")).unwrap(), &["\"tensors\":\"^", "\"scheme\":\"float\""]);
    let again = ["quantize", "m.tflite", "-o", "q.tflite", "--mode", "int8", "--data", "x.npy", "--recipe", "r.json"];
    scratch.ok(&again);
    has(&scratch.fails(1, &compare), &["--data"]);
}

#[test]
fn lint_names_what_a_target_cannot_run() {
    let scratch = Scratch::new("lint");
    has(&scratch.ok(&["lint", "m.tflite"]), &["nothing is wrong for cpu"]);
    let output = scratch.run(&["lint", "m.tflite", "--target", "edgetpu"]);
    assert_eq!(output.status.code(), Some(1));
    has(&String::from_utf8(output.stdout).unwrap(), &["type: ", "node 0 (CONV_2D", "float32"]);
    has(&String::from_utf8(output.stderr).unwrap(), &["findings for edgetpu"]);
    has(&scratch.fails(2, &["lint", "m.tflite", "--target", "moon"]), &["microcontroller"]);
}

#[test]
fn train_linear_learns_and_plots() {
    let scratch = Scratch::new("linear");
    let text = scratch.ok(&["train", "linear", "--out", "line"]);
    has(&text, &["epoch  200/200", "learned y = ", "worst error at 100 random inputs", "·"]);
    has(&scratch.ok(&["info", "line/linear.tflite"]), &["FULLY_CONNECTED"]);
    assert!(std::fs::read_to_string(scratch.path("line/linear.html")).unwrap().contains("<svg"));
    has(&scratch.fails(1, &["train", "linear", "--learning-rate", "2"]), &["error:"]);
}

#[test]
fn errors_name_the_file_and_a_way_out() {
    let scratch = Scratch::new("errors");
    has(&scratch.fails(1, &["info", "none.tflite"]), &["none.tflite", "help:"]);
    std::fs::write(scratch.path("text.tflite"), "this is not a model at all").unwrap();
    has(&scratch.fails(1, &["bench", "text.tflite"]), &["error:", "TFL3"]);
    let model = std::fs::read(scratch.path("m.tflite")).unwrap();
    std::fs::write(scratch.path("half.tflite"), &model[..model.len() / 2]).unwrap();
    has(&scratch.fails(1, &["run", "half.tflite"]), &["error: half.tflite: "]);
    has(&scratch.fails(1, &["run", "m.tflite", "--input", "nothing=x.npy"]), &["x.npy"]);
    has(&scratch.fails(1, &["quickstart", "--data", "nowhere"]), &["train-images-idx3-ubyte", "help:"]);
    assert!(!Path::new("nowhere").exists());
    has(&scratch.fails(2, &["bench", "m.tflite", "--threads", "0"]), &["--threads"]);
    has(&scratch.fails(2, &["frobnicate"]), &["frobnicate", "--help"]);
}
