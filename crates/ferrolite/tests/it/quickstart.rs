//! The whole way, on a tiny data set in the files' own form.

use crate::{Scratch, html};
use ferrolite::quickstart::{self, Event, QuickstartOptions};
use ferrolite::train::linear::{self, LinearOptions};
use ferrolite::{Error, Interpreter, Model, TensorType};
use std::ops::ControlFlow;
use std::path::Path;

/// Writes images whose class is the row of a bright bar.
fn write_data(dir: &Path) {
    let (rows, columns) = (12usize, 12usize);
    for (part, count) in [("train", 240usize), ("t10k", 65)] {
        let header = |dims: &[usize]| {
            let mut bytes = vec![0, 0, 8, dims.len() as u8];
            dims.iter().for_each(|&dim| bytes.extend((dim as u32).to_be_bytes()));
            bytes
        };
        let (mut images, mut labels) = (header(&[count, rows, columns]), header(&[count]));
        for i in 0..count {
            let class = i % 10;
            labels.push(class as u8);
            images
                .extend((0..rows * columns).map(|at| if at / columns == class + 1 { 200 + (i % 50) as u8 } else { 0 }));
        }
        std::fs::write(dir.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        std::fs::write(dir.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
}

fn options(dir: &Path) -> QuickstartOptions {
    QuickstartOptions {
        data: Some(dir.join("data")),
        out: dir.join("out"),
        epochs: 6,
        threads: 1,
        calibration_images: 20,
        ..QuickstartOptions::default()
    }
}

#[test]
fn five_models_and_a_report() {
    let scratch = Scratch::new("quickstart");
    std::fs::create_dir_all(scratch.0.join("data")).unwrap();
    write_data(&scratch.0.join("data"));
    let (mut batches, mut epochs) = (0, 0);
    let outcome = quickstart::run(&options(&scratch.0), &mut |event| {
        batches += usize::from(matches!(event, Event::Batch(_)));
        epochs += usize::from(matches!(event, Event::Epoch(_)));
        ControlFlow::Continue(())
    });
    let outcome = outcome.unwrap();
    assert_eq!((batches, epochs), (6 * 8, 6));

    let names: Vec<_> = outcome.variants.iter().map(|v| v.name).collect();
    assert_eq!(names, ["float", "dynamic", "float16", "int8", "int8_only"]);
    for v in &outcome.variants {
        assert_eq!(std::fs::metadata(&v.path).unwrap().len(), v.bytes);
        assert!(v.evaluation.accuracy > 0.9, "{} has {}", v.name, v.evaluation.accuracy);
        assert!(v.agreement > 0.9 && v.evaluation.arena_bytes > 0);
        let interpreter = Interpreter::new(Model::from_file(&v.path).unwrap()).unwrap();
        let ty = if v.name == "int8_only" { TensorType::Int8 } else { TensorType::Float32 };
        assert_eq!((interpreter.input_tensor(0).unwrap().ty, interpreter.output_tensor(0).unwrap().ty), (ty, ty));
    }
    let bytes = |name: &str| outcome.variants.iter().find(|v| v.name == name).unwrap().bytes as f64;
    assert!(bytes("int8") < 0.5 * bytes("float") && bytes("float16") < 0.7 * bytes("float"));

    let page = std::fs::read_to_string(&outcome.report).unwrap();
    assert_eq!(html::problem(&page), None);
    for section in
        ["Comparison", "Size, accuracy, latency", "Training", "Predictions", "Accuracy by class", "Confusion matrix"]
    {
        assert!(page.contains(&format!("<h2>{section}")), "{section}");
    }
    assert!(page.contains("data:image/png;base64,") && page.contains("<svg") && page.contains("prefers-color-scheme"));
    assert!(!page.contains("http") && !page.contains("<script") && !page.contains("NaN"));

    let mut files: Vec<_> = std::fs::read_dir(scratch.0.join("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    files.sort();
    let expected = [
        "fashion_dynamic.tflite",
        "fashion_float.tflite",
        "fashion_float16.tflite",
        "fashion_int8.tflite",
        "fashion_int8_only.tflite",
        "labels.txt",
        "report.html",
        "sample.png",
    ];
    assert_eq!(files, expected);
}

#[test]
fn an_interrupt_leaves_nothing_half_written() {
    let scratch = Scratch::new("interrupt");
    std::fs::create_dir_all(scratch.0.join("data")).unwrap();
    write_data(&scratch.0.join("data"));
    let options = QuickstartOptions { epochs: 1, ..options(&scratch.0) };
    // Stop while training, while calibrating, after the second file, and while evaluating.
    for stop in 0..4 {
        let mut written = 0;
        let result = quickstart::run(&options, &mut |event| {
            written += usize::from(matches!(event, Event::Written { .. }));
            let is_time = match stop {
                0 => matches!(event, Event::Batch(_)),
                1 => matches!(event, Event::Calibrating { done: 3, .. }),
                2 => written == 2,
                _ => matches!(event, Event::Evaluating { .. }),
            };
            if is_time { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(result, Err(Error::Interrupted)), "{stop}");
        let files: Vec<_> = std::fs::read_dir(&options.out).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(files.len(), written, "{files:?}");
        for path in files {
            Model::from_file(&path).unwrap();
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_line_is_learned_run_and_plotted() {
    let line = linear::run(&LinearOptions::default(), &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert!((line.weight - 2.0).abs() < 0.01 && (line.bias + 1.0).abs() < 0.02, "{}", line.formula());
    assert_eq!((line.losses.len(), line.predictions.len()), (200, 100));
    assert!(line.worst_error() < 0.1 && line.losses[199] < line.losses[0] / 1000.0);
    let page = line.to_html();
    assert_eq!(html::problem(&page), None);
    assert_eq!(page.matches("<circle").count(), 100 + 6 + 2 + 1);
    let plot = line.text_plot(40, 12);
    assert!(plot.lines().count() == 14 && plot.contains('·') && plot.matches('o').count() == 6, "{plot}");
}

#[test]
fn too_great_a_step_is_an_error() {
    let options = LinearOptions { learning_rate: 1.0, ..LinearOptions::default() };
    let error = linear::run(&options, &mut |_, _| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, Error::Train(_)), "{error}");
}
