#!/usr/bin/env python3
"""Runs .tflite files here and in LiteRT on the same inputs, and compares.

  litert_compare.py --ferrolite BINARY [--inputs N] [--default] PATH...

A PATH is a file or a folder of .tflite files. Integer outputs have to be bit-identical to LiteRT's reference kernels
(BUILTIN_REF, or its builtin ones where there are none); float outputs within 1e-5 of the largest absolute value (within 2e-3 where our reference kernels are).
--default compares with LiteRT's default kernels (XNNPACK) instead. Files that LiteRT cannot load (operators of our own) are skipped by name.
Closes with `N passed, N failed, N skipped`.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from arrays import difference, random_input

FLOAT_BOUND = 1e-5
# For fast kernels of layers that quantize their activations, where the reference kernels keep to the other bound.
MAGNIFIED_BOUND = 2e-3

# Cases where LiteRT's reference kernels do not compute what the model says; arithmetic wins.
LITERT_WRONG = [
    (r"sum__int(8|16)__", "SUM reads int8 as uint8 and does not rescale int16"),
    (r"reverse_v2__\w+?__2__9__3____0__2__", "REVERSE_V2 takes neighbouring axes only"),
    (
        r"shape_____int|range__int32_5_5_1|where__\w+?__2__0__",
        "its Python class cannot read outputs without elements",
    ),
    (
        r"depthwise_conv_2d__hybridpertensor",
        "hybrid depthwise reads one scale per channel, past the end of a single one",
    ),
    (
        r"batch_matmul__hybrid\w+?__\d+__([2-9]|\d\d+)__\d+__\d+__by",
        "hybrid matrix products mix up the scales of several matrices per batch",
    ),
    (
        r"local_response_normalization",
        "the reference kernel leaves out the last channel of the neighbourhood",
    ),
]

# Cases of many steps that quantize at run time, where a last bit tips a step in the reference kernels as well: judged by
# MAGNIFIED_BOUND alone.
MAGNIFIED = r"bidirectional_sequence_lstm__asymmetric_2_9_28_20_20_peephole_clip"


def peer(path, default):
    """LiteRT's interpreter of a file; its builtin kernels where it has no reference kernel of an operator."""
    kinds = [OpResolverType.BUILTIN_REF, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES]
    for kind in [OpResolverType.AUTO] if default else kinds:
        try:
            interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=kind, num_threads=1)
            interpreter.allocate_tensors()
            return interpreter
        except (ValueError, RuntimeError) as error:
            failure = error
            if "Didn't find op" not in str(error):
                break
    raise failure


def ours(binary, path, inputs, folder, reference=False):
    command = [binary, "run", str(path), "--output", folder] + ["--reference"] * reference
    for i, x in enumerate(inputs):
        if x.dtype.kind not in "fciub":
            raise NotImplementedError(f"inputs of type {x.dtype}")
        name = os.path.join(folder, f"in_{i}.npy")
        np.save(name, x)
        command += ["--input", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"exit status {done.returncode}")
    # Files are named after the outputs; they are announced in the outputs' order.
    names = [line.removeprefix("wrote ") for line in done.stdout.splitlines() if line.startswith("wrote ")]
    return [np.load(name) for name in names]


def check(binary, path, default, rounds):
    for seed in range(rounds):
        # A fresh one each time: random operators and variables go on from one invocation to the next.
        interpreter = peer(path, default)
        rng = np.random.RandomState(seed)
        # Every run of ours starts from cleared variables.
        interpreter.reset_all_variables()
        inputs = [random_input(rng, d["dtype"], d["shape"], 100) for d in interpreter.get_input_details()]
        for d, x in zip(interpreter.get_input_details(), inputs):
            interpreter.set_tensor(d["index"], x)
        interpreter.invoke()
        want = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
        why = mismatch(binary, path, inputs, want, FLOAT_BOUND)
        if why and not mismatch(binary, path, inputs, want, MAGNIFIED_BOUND):
            # Quantization at run time magnifies the last bit of a sum in another order: the reference kernels decide.
            is_known = re.search(MAGNIFIED, path.stem)
            why = None if is_known else mismatch(binary, path, inputs, want, FLOAT_BOUND, reference=True)
        if why:
            return f"inputs {seed}, {why}"
    return None


def mismatch(binary, path, inputs, want, bound, reference=False):
    with tempfile.TemporaryDirectory() as folder:
        got = ours(binary, path, inputs, folder, reference)
    if len(got) != len(want):
        return f"{len(got)} outputs, not {len(want)}"
    found = ((i, difference(g, w, bound)) for i, (g, w) in enumerate(zip(got, want)))
    return next((f"output {i}: {why}" for i, why in found if why), None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ferrolite", required=True)
    parser.add_argument("--inputs", type=int, default=2, help="random inputs per file (2)")
    parser.add_argument("--default", action="store_true", help="compare with LiteRT's default kernels")
    parser.add_argument("paths", nargs="+")
    args = parser.parse_args()
    files = []
    for path in map(pathlib.Path, args.paths):
        files += sorted(path.glob("**/*.tflite")) if path.is_dir() else [path]
    passed = failed = skipped = 0
    for path in files:
        name = "/".join(path.parts[-2:])
        wrong = [reason for pattern, reason in LITERT_WRONG if re.search(pattern, path.stem)]
        if wrong:
            print(f"skipped: {name} (LiteRT is wrong: {wrong[0]})")
            skipped += 1
            continue
        try:
            peer(path, args.default)
        except (ValueError, RuntimeError) as error:
            print(f"skipped: {name} (LiteRT: {' '.join(str(error).split())[:160]})")
            skipped += 1
            continue
        try:
            why = check(args.ferrolite, path, args.default, args.inputs)
        except NotImplementedError as error:
            print(f"skipped: {name} ({error})")
            skipped += 1
            continue
        except Exception as error:  # noqa: BLE001: any failure of one file is that file's result
            why = f"{type(error).__name__}: {error}"
        if why:
            print(f"FAILED: {name}: {why}")
            failed += 1
        else:
            passed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
