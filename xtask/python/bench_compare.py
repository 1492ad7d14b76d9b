#!/usr/bin/env python3
"""Times ferrolite beside LiteRT and OpenVINO, in one run, on the same models and inputs.

  bench_compare.py [--threads 1,2] [--rounds N] [--seconds S] [--peer litert|openvino|both] [--only TEXT]
                   [--json FILE] [--from FILE]... [--table FILE] [--realtime] [--bench DIR] [--zoo DIR] [MODEL...]

Each side has a process of its own for every number of threads; rounds alternate between the processes, so that a drift of
the machine's speed hits all alike. A round invokes for about S seconds. The figure is the median over rounds of each round's
median time. Loading (constructor and allocate_tensors), the first invoke and the growth of the process's memory at its peak
are measured as well, and outputs are compared with LiteRT's, so that a fast wrong answer shows. LiteRT is its default
interpreter (XNNPACK); OpenVINO reads the same file, dimensions that are open taken as 1, for latency and in float32.

Without MODEL: the .tflite files of --bench and the trained networks that --zoo's manifest lists. A MODEL may be a folder.
--json keeps the rows, written after each; --from takes rows of earlier runs instead of measuring (later files win; with
MODELs given, both). --table writes the tables into a Markdown file, between its two marker comments. Ratios are always
such that above 1 ferrolite is better, but that of memory, where below 1 is.
"""
import argparse
import json
import multiprocessing
import os
import pathlib
import statistics
import subprocess
import sys
import time

import bench_table

LOADS_WITHIN = 300  # seconds
SEED = 7


class TfliteApi:
    """ferrolite or LiteRT: both have tf.lite.Interpreter's methods."""

    def __init__(self, interpreter):
        self.interpreter = interpreter

    def load(self, model, threads):
        self.it = self.interpreter(model_path=model, num_threads=threads)
        self.it.allocate_tensors()
        self.invoke = self.it.invoke

    def inputs(self):
        return [(d["name"], tuple(int(n) for n in d["shape"]), d["dtype"]) for d in self.it.get_input_details()]

    def feed(self, arrays):
        for detail, x in zip(self.it.get_input_details(), arrays):
            self.it.set_tensor(detail["index"], x)

    def outputs(self):
        return [self.it.get_tensor(d["index"]) for d in self.it.get_output_details()]


class OpenVino:
    """OpenVINO's CPU plugin on a .tflite file."""

    def __init__(self, openvino):
        self.ov = openvino

    def load(self, model, threads):
        core = self.ov.Core()
        graph = core.read_model(model)
        open_inputs = [i for i in graph.inputs if i.partial_shape.is_dynamic]
        if open_inputs:
            graph.reshape({i: [1 if d.is_dynamic else d.get_length() for d in i.partial_shape] for i in open_inputs})
        how = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            # By default it computes float32 networks in bfloat16 where the CPU has that.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self.compiled = core.compile_model(graph, "CPU", how)
        self.request = self.compiled.create_infer_request()

    def invoke(self):
        self.request.infer(share_outputs=True)

    def inputs(self):
        return [(i.any_name, tuple(i.shape), i.element_type.to_dtype()) for i in self.compiled.inputs]

    def feed(self, arrays):
        for i, x in enumerate(arrays):
            self.request.set_input_tensor(i, self.ov.Tensor(x))

    def outputs(self):
        return [self.request.get_output_tensor(i).data.copy() for i in range(len(self.compiled.outputs))]


def side(name):
    """The interpreter of a side, imported and not yet loaded."""
    if name == "ours":
        import ferrolite

        return TfliteApi(ferrolite.Interpreter)
    if name == "litert":
        from ai_edge_litert.interpreter import Interpreter

        return TfliteApi(Interpreter)
    import openvino

    return OpenVino(openvino)


def peak_kib():
    """The largest resident memory of this process so far."""
    try:
        status = pathlib.Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1])
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak():
    """Starts the peak anew from what is resident now, where the system can; importing may have needed more than a model."""
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def worker(conn, name, model, threads, realtime, verbose):
    """One side's process: loads, says what the inputs are, gets them, invokes once, then for as long as it is told to."""
    if not verbose:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        if realtime:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        interpreter = side(name)
        forget_peak()
        base = peak_kib()
        start = time.perf_counter()
        interpreter.load(model, threads)
        load = time.perf_counter() - start
        conn.send(interpreter.inputs())
        interpreter.feed(conn.recv())
        start = time.perf_counter()
        interpreter.invoke()
        first = time.perf_counter() - start
        conn.send((load, first, interpreter.outputs()))
        invoke = interpreter.invoke
        while (seconds := conn.recv()) is not None:
            times, end = [], time.perf_counter() + seconds
            while len(times) < 3 or time.perf_counter() < end:
                start = time.perf_counter()
                invoke()
                times.append(time.perf_counter() - start)
            conn.send(statistics.median(times))
        conn.send((peak_kib() - base) / 1024)
    except Exception as error:  # noqa: BLE001: any failure of one file is that file's result
        # OpenVINO says where in its code before it says why.
        why = " ".join(str(error).split("GeneralFailure:")[-1].split())
        conn.send(f"{type(error).__name__}: {why}")


class Failed(Exception):
    """Why a side has no result."""


class Process:
    """A worker as its parent sees it."""

    def __init__(self, name, model, threads, args):
        context = multiprocessing.get_context("spawn")
        self.conn, there = context.Pipe()
        given = (there, name, str(model), threads, args.realtime, args.verbose)
        self.process = context.Process(target=worker, args=given, daemon=True)
        self.process.start()
        there.close()
        self.rounds = []

    def get(self):
        try:
            if not self.conn.poll(LOADS_WITHIN):
                raise Failed(f"no answer within {LOADS_WITHIN} s")
            message = self.conn.recv()
        except (EOFError, ConnectionError):
            self.process.join(5)
            raise Failed(f"the process died, exit status {self.process.exitcode}") from None
        if isinstance(message, str):
            raise Failed(message)
        return message

    def ask(self, message):
        try:
            self.conn.send(message)
        except OSError:
            pass  # `get` says that it died
        return self.get()

    def end(self):
        self.conn.close()
        self.process.join(2)
        if self.process.is_alive():
            self.process.kill()


def prepare(process, feeds):
    """Loads, feeds and invokes once. Inputs of one name (else place), shape and type get the same values on every side."""
    import numpy as np

    from arrays import random_input

    arrays = []
    for i, (name, shape, dtype) in enumerate(process.get()):
        key = next((k for k in feeds if k[1] == name), next((k for k in feeds if k[0] == i), (i, name)))
        x = feeds.get(key)
        if x is None or x.shape != shape or x.dtype != np.dtype(dtype):
            x = random_input(np.random.RandomState(SEED + i), dtype, shape, 2)
            feeds.setdefault(key, x)
        arrays.append(x)
    process.load, process.first, process.outputs = process.ask(arrays)


def measure(model, threads, peers, args):
    """A row per number of threads."""
    running, rows, feeds = {}, {n: {"threads": n} for n in threads}, {}
    # LiteRT first: what it computes is what the others are compared with.
    for name in [*peers, "ours"]:
        for n in threads:
            process = Process(name, model, n, args)
            try:
                prepare(process, feeds)
                running[name, n] = process
            except (Failed, NotImplementedError) as error:
                rows[n][f"{name}_error"] = str(error)
                process.end()

    def each(action):
        for (name, n), process in list(running.items()):
            try:
                action(name, n, process)
            except Failed as error:
                rows[n][f"{name}_error"] = str(error)
                process.end()
                del running[name, n]

    for _ in range(args.rounds):
        each(lambda name, n, process: process.rounds.append(process.ask(args.seconds)))

    def finish(name, n, process):
        rows[n].update({
            f"{name}_ms": 1e3 * statistics.median(process.rounds),
            f"{name}_load_ms": 1e3 * process.load,
            f"{name}_first_ms": 1e3 * process.first,
            f"{name}_mib": process.ask(None),
        })

    each(finish)
    for (name, n), process in running.items():
        reference = running.get(("litert", n)) or running.get(("openvino", n))
        if name == "ours" and reference:
            rows[n]["cos"], rows[n]["diff"] = agreement(process.outputs, reference.outputs)
        elif name == "openvino" and ("litert", n) in running:
            rows[n]["openvino_cos"], rows[n]["openvino_diff"] = agreement(process.outputs, reference.outputs)
        process.end()
    return list(rows.values())


def agreement(got, want):
    """Cosine similarity and largest difference of all numbers of two lists of outputs; None where they cannot be compared."""
    import numpy as np

    from arrays import similarity

    def joined(outputs):
        numbers = [np.asarray(x) for x in outputs if np.asarray(x).dtype.kind in "fiubc"]
        return np.concatenate([x.astype(np.complex128).ravel() for x in numbers] or [np.zeros(1)])

    got, want = joined(got), joined(want)
    if got.shape != want.shape or not (np.isfinite(got).all() and np.isfinite(want).all()):
        return None, None
    return similarity(got, want), float(np.abs(got - want).max(initial=0))


def facts(model):
    """What `ferrolite info` says of a file; nothing where it cannot be read."""
    command = [sys.executable, "-m", "ferrolite", "info", str(model), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return json.loads(done.stdout) if done.returncode == 0 else {"subgraphs": []}


def default_models(args):
    models = sorted(pathlib.Path(args.bench).glob("*.tflite")) if args.bench else []
    manifest = pathlib.Path(args.zoo or "/nowhere") / "manifest.json"
    if manifest.exists():
        entries = json.loads(manifest.read_text())
        entries = entries["models"] if isinstance(entries, dict) else entries
        trained = [e["file"] for e in entries if e["kind"] == "model" and e["litert_2_3_0"] == "OK"]
        models += [manifest.parent / file for file in trained]
    return models


def find_models(args):
    """The files to measure, each once."""
    models = []
    for path in map(pathlib.Path, args.models):
        models += sorted(path.rglob("*.tflite")) if path.is_dir() else [path]
    if not args.models and not args.rows:
        models = default_models(args)
    return list(dict.fromkeys(m.resolve() for m in models if args.only in str(m)))


def installed(name):
    try:
        side(name)
        return True
    except ImportError as error:
        print(f"skipped: {name} ({error})")
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--threads", default="1", help="numbers of threads, 1,2 (1)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of every process (5)")
    parser.add_argument("--seconds", type=float, default=0.2, help="time of a round (0.2)")
    parser.add_argument("--peer", choices=["litert", "openvino", "both"], default="both")
    parser.add_argument("--only", default="", metavar="TEXT", help="only files whose path contains this")
    parser.add_argument("--json", metavar="FILE", help="keep the rows")
    parser.add_argument("--from", dest="rows", action="append", default=[], metavar="FILE", help="rows of earlier runs")
    parser.add_argument("--table", metavar="FILE", help="write the tables there; docs: docs/performance.md")
    parser.add_argument("--bench", help="folder of networks that are always measured")
    parser.add_argument("--zoo", help="folder of real networks with a manifest.json")
    parser.add_argument("--realtime", action="store_true", help="at real-time priority, on a busy machine (Linux, root)")
    parser.add_argument("--verbose", action="store_true", help="show what the interpreters write")
    args = parser.parse_args()
    rows = {}
    for file in args.rows:
        rows.update({(row["path"], row["threads"]): row for row in json.loads(pathlib.Path(file).read_text())})
    models = find_models(args)
    if not models and not rows:
        parser.error("no models: give files or folders")
    threads = sorted({int(n) for n in args.threads.split(",")})
    peers = [p for p in ("litert", "openvino") if args.peer in (p, "both") and (not models or installed(p))]
    if models:
        print(bench_table.HEADER, flush=True)
    for model in models:
        about = bench_table.content(facts(model))
        for row in measure(model, threads, peers, args):
            row = {"path": str(model), "bytes": model.stat().st_size, **about, **row}
            rows[row["path"], row["threads"]] = row
            print("\n    ".join([bench_table.line(row), *bench_table.failures(row)]), flush=True)
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps(list(rows.values()), indent=1) + "\n")
    summary = bench_table.Summary(list(rows.values()))
    print(f"\n{summary.text()}")
    if args.table:
        own = pathlib.Path(__file__).resolve().parents[2] / "docs" / "performance.md"
        table = own if args.table == "docs" else pathlib.Path(args.table)
        bench_table.write(table, summary)
        print(f"\nwrote the tables into {table}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
