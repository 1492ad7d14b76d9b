#!/usr/bin/env python3
"""Builds networks of keras.applications as .tflite files, to measure on: NAME.f32, .dyn, .f16 and .int8.tflite.

  bench_models.py --out DIR [--formats f32,dyn,f16,int8] [NAME...]

Weights are random with a fixed seed, and batch normalization gets statistics that are not those of identity, so that
converters fold it as they would a trained network's. Files that exist are left alone. Closes with how many were built.
"""
import argparse
import os
import pathlib
import sys
import tempfile

# Name: side of the image.
NETWORKS = {
    "MobileNet": 224,
    "MobileNetV2": 224,
    "MobileNetV3Small": 224,
    "MobileNetV3Large": 224,
    "ResNet50": 224,
    "EfficientNetB0": 224,
    "EfficientNetV2B0": 224,
    "DenseNet121": 224,
    "InceptionV3": 299,
    "NASNetMobile": 224,
    "Xception": 299,
    "ConvNeXtTiny": 224,
}
FORMATS = ("f32", "dyn", "f16", "int8")
CALIBRATION_IMAGES = 4


def network(name, side):
    import keras
    import numpy as np

    keras.utils.set_random_seed(1)
    model = getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3))
    rng = np.random.RandomState(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            channels = layer.moving_mean.shape[0]
            layer.moving_mean.assign(rng.normal(0, 0.05, channels))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, channels))
    return model


def convert(saved, kind, side):
    import numpy as np
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(saved)
    if kind != "f32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "f16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":
        rng = np.random.RandomState(2)
        images = [rng.random_sample((1, side, side, 3)).astype(np.float32) for _ in range(CALIBRATION_IMAGES)]
        converter.representative_dataset = lambda: ([image] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NETWORKS))
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--formats", default=",".join(FORMATS), help="those to build (all)")
    args = parser.parse_args()
    names, formats = args.names or list(NETWORKS), args.formats.split(",")
    unknown = [n for n in names if n not in NETWORKS] + [f for f in formats if f not in FORMATS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    args.out.mkdir(parents=True, exist_ok=True)
    built = failed = 0
    for name in names:
        files = {kind: args.out / f"{name}.{kind}.tflite" for kind in formats}
        missing = {kind: file for kind, file in files.items() if not file.exists()}
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as saved:
            try:
                network(name, NETWORKS[name]).export(saved, verbose=False)
            except Exception as error:  # noqa: BLE001: one network fails alone
                print(f"FAILED: {name}: {error}", flush=True)
                failed += len(missing)
                continue
            for kind, file in missing.items():
                try:
                    part = file.with_suffix(".part")
                    part.write_bytes(convert(saved, kind, NETWORKS[name]))
                    part.rename(file)
                    built += 1
                    print(f"{file} ({file.stat().st_size / 1e6:.1f} MB)", flush=True)
                except Exception as error:  # noqa: BLE001
                    print(f"FAILED: {name}.{kind}: {' '.join(str(error).split())[:300]}", flush=True)
                    failed += 1
    print(f"{built} built, {failed} failed, in {args.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
