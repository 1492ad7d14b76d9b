#!/usr/bin/env python3
"""Runs real models here and in LiteRT on the same inputs, several times in a row, and compares.

  zoo_compare.py [--zoo DIR] [--steps N] [--max-mb N] [--kind model|unit] [--only TEXT] [--jobs N]

DIR has a manifest.json (see its README). LiteRT's kernels are those of BUILTIN_REF; where that resolver lacks an operator,
its builtin kernels without delegate. Integer outputs have to be bit-identical, float outputs of cosine >= 0.99999 and
within 1e-4 of the largest. Where a network magnifies rounding (run-time quantization does, and so do scalars near 0) that
cannot hold for sums in another order: there our own reference kernels have to be within 1e-5 of LiteRT's, and the fast ones
within 5e-2 (MAGNIFIES lists where that cannot hold either); such files are named. Needs numpy, ai_edge_litert and the
ferrolite package. Each file runs in its own process, so that a crash is that file's result. Closes with `N passed, N failed, N skipped`.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

from arrays import difference, random_input, relative_error

COSINE = 0.99999
FLOAT_BOUND = 1e-4
REFERENCE_BOUND = 1e-5
MAGNIFIED_BOUND = 5e-2

# Files where LiteRT does not compute what the model says, with the reason. They have to run here, and are not compared.
LITERT_WRONG = [
    ("resnet8_dynamic_wi2c_afp32", "LiteRT's fully connected kernels take int2 weights for zeros, XNNPACK gives NaN"),
    ("static_w8_a16_quantized_", "LiteRT's BATCH_MATMUL of int16 by int8 gives zeros"),
    (
        "resnet8_dynamic_wi4b32_afp32",
        "LiteRT's reference kernels take weights with a scale per block for zeros (its builtin kernels agree)",
    ),
    (
        "qwen_fc_blockwise_quantized",
        "LiteRT's reference kernels take weights with a scale per block for zeros (its builtin kernels agree)",
    ),
]


# Networks where even one unit in the last place of a float grows to percents, with what was measured.
MAGNIFIES = [
    (
        "all_minilm_l6_v2_seq128_dynrange",
        "run-time quantization in 36 layers; LiteRT's own default kernels are 2.9e-2 from its reference",
    ),
]


def random_inputs(rng, interpreter):
    """An input for each that the interpreter has; wide integers, which are often indices, are small."""
    return [random_input(rng, d["dtype"], d["shape"], 3) for d in interpreter.get_input_details()]


def run(interpreter, feeds):
    results = []
    for feed in feeds:
        for detail, x in zip(interpreter.get_input_details(), feed):
            interpreter.set_tensor(detail["index"], x)
        interpreter.invoke()
        results.append([interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()])
    return results


def worker(path, steps, alone):
    """Prints one JSON line: status and reason."""
    from ai_edge_litert.interpreter import Interpreter as Peer
    from ai_edge_litert.interpreter import OpResolverType

    import ferrolite

    def report(status, why):
        print(json.dumps([status, " ".join(str(why).split())[:300]]), flush=True)

    rng = np.random.RandomState(7)
    try:
        ours = ferrolite.Interpreter(model_path=path, num_threads=1)
        ours.allocate_tensors()
        feeds = [random_inputs(rng, ours) for _ in range(steps)]
        got, failure = run(ours, feeds), None
    except Exception as error:  # noqa: BLE001: any failure of one file is that file's result
        got, failure = None, error
        if "feeds" not in locals():
            feeds = None
    if alone:
        return report("failed", failure) if failure else report("runs here only", "not compared")
    print("ours ran", flush=True)
    peer_failure = None
    for resolver in [OpResolverType.BUILTIN_REF, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES]:
        try:
            peer = Peer(model_path=path, experimental_op_resolver_type=resolver, num_threads=1)
            peer.allocate_tensors()
            if feeds is None:
                feeds = [random_inputs(rng, peer) for _ in range(steps)]
            want = run(peer, feeds)
        except Exception as error:  # noqa: BLE001
            peer_failure = error
            continue
        if failure:
            return report("failed", failure)
        reference, note = None, ""
        for step, (g, w) in enumerate(zip(got, want)):
            if len(g) != len(w):
                return report("failed", f"{len(g)} outputs, not {len(w)}")
            for i, (a, b) in enumerate(zip(g, w)):
                why = difference(np.asarray(a), np.asarray(b), FLOAT_BOUND, COSINE)
                if not why:
                    continue
                where = f"step {step}, output {i}: {why}"
                if reference is None:
                    kind = ferrolite.OpResolverType.BUILTIN_REF
                    reference = ferrolite.Interpreter(model_path=path, experimental_op_resolver_type=kind)
                    reference.allocate_tensors()
                    reference = run(reference, feeds)
                own = relative_error(reference[step][i], b)
                known = any(text in path for text, _ in MAGNIFIES)
                if (own > REFERENCE_BOUND and not known) or relative_error(a, b) > MAGNIFIED_BOUND:
                    return report("failed", f"{where}; the reference kernels are off by {own:.2g}")
                note = f"{where}; the reference kernels are off by {own:.2g}"
        return report("passed", note)
    if failure:
        return report("refused by both", f"{failure} | LiteRT: {peer_failure}")
    return report("runs here only", f"LiteRT: {peer_failure}")


def check(entry, zoo, steps):
    path = zoo / entry["file"]
    if not path.exists():
        path = zoo / "models" / entry["file"]
    wrong = [reason for text, reason in LITERT_WRONG if text in entry["id"]]
    command = [sys.executable, __file__, "--worker", str(path), str(steps), "alone" if wrong else ""]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    except subprocess.TimeoutExpired:
        return entry, "skipped", "takes longer than 15 minutes"
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    if not lines:
        if "ours ran" in done.stdout and done.returncode < 0:
            return entry, "runs here only", f"LiteRT dies of signal {-done.returncode}"
        return entry, "failed", f"exit status {done.returncode}: {done.stderr.strip()[-300:]}"
    status, why = json.loads(lines[-1])
    return entry, status, wrong[0] if wrong and status == "runs here only" else why


def main():
    if sys.argv[1:2] == ["--worker"]:
        return worker(sys.argv[2], int(sys.argv[3]), bool(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", default=os.environ.get("FERROLITE_ZOO", "../shared/zoo"))
    parser.add_argument("--steps", type=int, default=2, help="invocations in a row (2)")
    parser.add_argument("--max-mb", type=float, default=1e9, help="leave out larger files")
    parser.add_argument("--kind", default="", help="model or unit; both by default")
    parser.add_argument("--only", default="", help="only files whose id contains this")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    zoo = pathlib.Path(args.zoo)
    manifest = json.loads((zoo / "manifest.json").read_text())
    entries = manifest["models"] if isinstance(manifest, dict) else manifest
    entries = [
        e for e in entries if args.kind in e["kind"] and args.only in e["id"] and e["bytes"] <= args.max_mb * 1e6
    ]
    counts = {}
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for entry, status, why in pool.map(lambda e: check(e, zoo, args.steps), entries):
            counts[status] = counts.get(status, 0) + 1
            if status != "passed" or why:
                print(f"{status}: {entry['id']}: {why}", flush=True)
    passed, failed = counts.pop("passed", 0), counts.pop("failed", 0)
    passed += counts.pop("runs here only", 0)
    print(f"{passed} passed, {failed} failed, {sum(counts.values())} skipped", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
