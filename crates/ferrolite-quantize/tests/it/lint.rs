//! Lint.

use crate::*;
use ferrolite_model::Quantization;
use ferrolite_quantize::{Target, lint};

fn rules(model: &Model, target: Target) -> Vec<&'static str> {
    lint(model, target).unwrap().iter().map(|finding| finding.rule).collect()
}

/// What is wrong after a change to the quantization of a tensor.
fn broken(model: &Model, name: &str, change: impl Fn(&mut Quantization)) -> Vec<&'static str> {
    let mut model = model.clone();
    let tensor = model.subgraphs[0].tensors.iter_mut().find(|tensor| tensor.name() == name).unwrap();
    change(tensor.quantization.as_mut().unwrap());
    rules(&model, Target::Cpu)
}

#[test]
fn what_the_quantizer_makes_is_right() {
    let model = classifier(90);
    for mode in [Mode::DynamicRange, Mode::Float16, Mode::Int8, Mode::Int8Only, Mode::Int16x8, Mode::WeightOnly] {
        let options = Options { min_weight_elements: 0, ..Options::new(mode) };
        assert!(rules(&quantized(&model, &options), Target::Cpu).is_empty(), "{mode:?}");
    }
}

#[test]
fn broken_rules_are_found() {
    let int8 = in_mode(&classifier(91), Mode::Int8Only);
    assert_eq!(broken(&int8, "conv/b", |q| q.scale[3] *= 1.01), ["bias-scale"]);
    let one_scale = |q: &mut Quantization| {
        q.scale.truncate(1);
        q.zero_point.truncate(1);
    };
    assert_eq!(broken(&int8, "conv/b", one_scale), ["bias-scale"]);
    assert_eq!(broken(&int8, "dense/b", |q| q.zero_point[0] = 1), ["zero-point"]);
    assert_eq!(broken(&int8, "conv/w", |q| q.zero_point[0] = 1), ["zero-point"]);
    assert_eq!(broken(&int8, "pool", |q| q.scale[0] *= 2.0), ["same-scale", "same-scale"]);
    assert_eq!(broken(&int8, "y", |q| q.zero_point[0] = 0), ["fixed-output"]);
    let mut net = Net::new(92);
    let x = net.input("x", &[1, 4, 4, 8]);
    let y = net.conv(x, 8, "y");
    let square = in_mode(&net.finish(&[y]), Mode::Int8Only);
    assert_eq!(broken(&square, "y/w", |q| q.quantized_dimension = 3), ["axis"]);
    let int16 = in_mode(&classifier(91), Mode::Int16x8);
    assert!(broken(&int16, "conv", |q| q.zero_point[0] = 1).contains(&"zero-point"));
}

#[test]
fn targets_refuse_what_they_cannot_run() {
    let model = classifier(92);
    let int8 = in_mode(&model, Mode::Int8Only);
    for target in [Target::EdgeTpu, Target::Microcontroller] {
        assert!(rules(&int8, target).is_empty(), "{target}");
    }
    let int16 = in_mode(&model, Mode::Int16x8);
    assert!(rules(&int16, Target::EdgeTpu).contains(&"type"));
    assert!(rules(&int16, Target::Microcontroller).is_empty());
    assert!(rules(&model, Target::EdgeTpu).iter().all(|rule| *rule == "type"));
    let hybrid = in_mode(&model, Mode::DynamicRange);
    assert_eq!(rules(&hybrid, Target::Microcontroller), ["hybrid"]);
    let mut net = Net::new(93);
    let x = net.input("x", &[1, 4]);
    let y = net.op(BuiltinOperator::ATAN2, BuiltinOptions::NONE, &[x, x], "y", &[1, 4]);
    let odd = net.finish(&[y]);
    assert_eq!(rules(&odd, Target::Microcontroller), ["operator"]);
    assert!(rules(&odd, Target::Cpu).is_empty());
    let mut newer = Model::clone(&odd);
    newer.operator_codes[0].version = 99;
    assert_eq!(rules(&newer, Target::Cpu), ["version"]);
}
