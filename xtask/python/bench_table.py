"""What the rows of bench_compare.py say: classes of networks, goals, and tables for a terminal and for Markdown."""
import collections
import math
import re

# Operators that are convolutions, by their multiply-accumulates.
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "CONV_3D_TRANSPOSE")
INTEGERS = ("int2", "int4", "int8", "uint8", "int16")
TINY_MS = 1.0
# Outputs further apart than this were not made by one computation: such rows count nowhere.
SAME_COSINE = 0.7
# Memory of smaller models is that of the interpreter's own code and of allocators' steps.
MEMORY_MIB = 4.0

# Class, what its geometric mean has to reach against LiteRT, and what every row has to.
GOALS = [
    ("float32 convolution", 1.4, 1.0),
    ("int8", 1.6, 0.0),
    ("dynamic range", 3.0, 0.0),
    ("float16 weights", 1.3, 0.0),
    ("transformer, float", 1.2, 0.0),
    ("transformer, quantized", 2.0, 0.0),
    ("tiny", 1.5, 0.0),
    ("other", 0.0, 0.0),
]
LOAD_GOAL, MEMORY_GOAL, THREADS_GOAL = 2.0, 0.6, 1.7

PEERS = {"litert": "LiteRT", "openvino": "OpenVINO"}
BEGIN = "<!-- bench compare: begin -->"
END = "<!-- bench compare: end -->"


def content(info):
    """What kind of network `ferrolite info --json` describes: the numbers that most of its multiply-accumulates are made
    of, whether it attends, and how much of it is convolution."""
    numbers, total, convolution, attends, softmax = collections.Counter(), 0, 0, 0, False
    for graph in info["subgraphs"]:
        tensors = graph["tensors"]
        maker = {out: node for node in graph["nodes"] for out in node["outputs"]}
        for node in graph["nodes"]:
            softmax |= node["operator"] == "SOFTMAX"
            if node["macs"] == 0:
                continue
            weights, computed = None, []
            for index in (i for i in node["inputs"] if i is not None):
                source = _constant(index, tensors, maker)
                if source is None:
                    computed.append(tensors[index])
                elif len(source["shape"]) >= 2 and source["type"] != "int32":
                    weights = weights or (source, source is not tensors[index])
            if weights is None:
                attends += node["operator"] == "BATCH_MATMUL"
            numbers[_numbers(weights, computed)] += node["macs"]
            total += node["macs"]
            # A fully connected layer over the pixels of an image is a pointwise convolution.
            pointwise = node["operator"] == "FULLY_CONNECTED" and any(len(tensor["shape"]) == 4 for tensor in computed)
            convolution += node["macs"] * (pointwise or node["operator"] in CONVOLUTIONS)
    return {
        "numbers": numbers.most_common(1)[0][0] if numbers else "none",
        "attends": attends >= 2 and softmax,
        "convolution": round(convolution / total, 3) if total else 0.0,
        "macs": total,
        "nodes": sum(len(graph["nodes"]) for graph in info["subgraphs"]),
    }


def _constant(index, tensors, maker):
    """The constant that a tensor is, or is made of by changing its type or layout alone."""
    while tensors[index]["role"] != "constant":
        node = maker.get(index)
        if node is None or node["operator"] not in ("DEQUANTIZE", "CAST", "TRANSPOSE", "RESHAPE", "DENSIFY"):
            return None
        index = node["inputs"][0]
    return tensors[index]


def _numbers(weights, computed):
    """float32, float16, int8, hybrid (integer weights, float activations) or weights only (made floats before use)."""
    if any(tensor["type"] in INTEGERS for tensor in computed):
        return "int8"
    if weights is None:
        return "float32"
    source, converted = weights
    if source["type"] == "float16":
        return "float16"
    if source["type"] in INTEGERS:
        return "weights only" if converted else "hybrid"
    return "float32"


def class_of(row):
    """The class whose goal a row counts for."""
    if row.get("class_ms", row.get("litert_ms", TINY_MS)) < TINY_MS:
        return "tiny"
    numbers = row["numbers"]
    if row["attends"]:
        return "transformer, float" if numbers in ("float32", "float16") else "transformer, quantized"
    if numbers == "float32":
        return "float32 convolution" if row["convolution"] >= 0.5 else "other"
    return {"int8": "int8", "hybrid": "dynamic range", "float16": "float16 weights"}.get(numbers, "other")


def ratio(row, peer, *keys):
    """Peer / ours of the sum of some figures; above 1 ours is smaller. None where one is missing."""
    ours, theirs = (sum(row.get(f"{side}_{key}", math.nan) for key in keys) for side in ("ours", peer))
    return theirs / ours if ours > 0 and theirs > 0 else None


def speed(row, peer):
    """How much faster ferrolite is than a peer, or than the better one for `best`."""
    if peer != "best":
        return ratio(row, peer, "ms")
    found = [r for r in (ratio(row, p, "ms") for p in PEERS) if r is not None]
    return min(found) if found else None


def load(row, peer="litert"):
    """The same of loading and the first invoke together."""
    return ratio(row, peer, "load_ms", "first_ms")


def memory(row, peer="litert"):
    """Ours / peer: below 1 ours is smaller. None where both are next to nothing."""
    if row.get(f"{peer}_mib", 0) < MEMORY_MIB:
        return None
    return row["ours_mib"] / row[f"{peer}_mib"] if "ours_mib" in row else None


def geomean(values):
    values = [v for v in values if v]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def short(text, width):
    return text if len(text) <= width else text[: (width - 1) // 2] + "…" + text[len(text) - width // 2 :]


def name_of(row):
    return re.split(r"/|\\", row["path"])[-1].removesuffix(".tflite").split("__")[-1]


def number(value, width=0, form=".2f"):
    return f"{'–' if value is None else format(value, form):>{width}}"


HEADER = f"{'model':40} th    ours ms   LiteRT OpenVINO  load+1st  memory       cos     diff"


def line(row):
    """A row for a terminal."""
    head = f"{short(name_of(row), 40):40} {row['threads']:2}"
    cells = [number(row.get("ours_ms"), 10, ".3f"), number(speed(row, "litert"), 7) + "x"]
    cells += [number(speed(row, "openvino"), 7) + "x", number(load(row), 8) + "x", number(memory(row), 7)]
    cells += [number(row.get("cos"), 9, ".6f"), number(row.get("diff"), 8, ".2g")]
    return " ".join([head, *cells])


def failures(row):
    """Why sides have no figures, a line each."""
    for side in ("ours", *PEERS):
        if f"{side}_error" in row:
            yield f"{PEERS.get(side, 'ferrolite')}, {name_of(row)}: {short(row[f'{side}_error'], 160)}"


class Summary:
    """Means, goals and the rows that fall short."""

    def __init__(self, rows):
        alone = {row["path"]: row.get("litert_ms") for row in rows if row["threads"] == 1}
        for row in rows:
            # With several threads a network stays in the class that it has with one.
            if alone.get(row["path"]):
                row["class_ms"] = alone[row["path"]]
        self.rows = rows
        self.wrong = [r for r in rows if "ours_ms" in r and not self.agrees(r)]
        self.good = [r for r in rows if "ours_ms" in r and self.agrees(r)]
        self.threads = sorted({r["threads"] for r in rows})

    @staticmethod
    def agrees(row):
        """Whether the peer computes the same; without a peer there is nothing to doubt."""
        return "cos" not in row or (row["cos"] is not None and row["cos"] >= SAME_COSINE)

    def of(self, name, threads):
        return [r for r in self.good if r["threads"] == threads and class_of(r) == name]

    def classes(self, threads):
        """Class, rows and geometric means against LiteRT, OpenVINO and the better one, and the worst row."""
        for name, goal, floor in GOALS:
            rows = self.of(name, threads)
            if rows:
                worst = min((speed(r, "best") for r in rows if speed(r, "best")), default=None)
                means = [geomean(speed(r, peer) for r in rows) for peer in ("litert", "openvino", "best")]
                yield name, goal, floor, rows, means, worst

    def goals(self):
        """Whether a goal is reached, and what was asked and measured."""
        for name, goal, floor, rows, means, _ in self.classes(self.threads[0]):
            if goal and means[0]:
                yield verdict(f"{name}: mean against LiteRT", means[0], goal)
            slowest = min((speed(r, "litert") for r in rows if speed(r, "litert")), default=None)
            if floor and slowest:
                yield verdict(f"{name}: slowest row against LiteRT", slowest, floor)
        pairs = [(r, self.float_form(r)) for r in self.good if class_of(r) == "dynamic range"]
        own = [f["ours_ms"] / r["ours_ms"] for r, f in pairs if f]
        if own:
            yield verdict("dynamic range: slowest against our own float32", min(own), 1.0)
        loads = geomean(load(r) for r in self.good)
        if loads:
            yield verdict("load and first invoke: mean against LiteRT", loads, LOAD_GOAL)
        peaks = geomean(memory(r) for r in self.good if r["threads"] == self.threads[0])
        if peaks:
            yield verdict("memory of the process at its peak: mean of LiteRT's", peaks, MEMORY_GOAL, below=True)
        two = [s for s in (self.scaling(r) for r in self.good if r["threads"] == 2 and class_of(r) != "tiny") if s]
        if two:
            yield verdict("two threads: mean against our own one, networks of 1 ms and more", geomean(two), THREADS_GOAL)
        best = [s for s in (speed(r, "best") for r in self.good) if s]
        if best:
            lost = sum(s < 1 for s in best)
            yield not lost, f"better than the better peer in every row: {lost} of {len(best)} lost"

    def float_form(self, row):
        """The row of the same network in float32: NAME.f32.tflite beside NAME.dyn.tflite."""
        path = re.sub(r"\.dyn\.tflite$", ".f32.tflite", row["path"])
        same = (r for r in self.good if r["path"] == path and path != row["path"] and r["threads"] == row["threads"])
        return next(same, None)

    def scaling(self, row):
        """How much faster ferrolite is with a row's threads than with one."""
        same = (r for r in self.good if r["path"] == row["path"] and r["threads"] == 1)
        return next((r["ours_ms"] / row["ours_ms"] for r in same), None)

    def text(self):
        lines = []
        for threads in self.threads:
            lines.append(f"{'class':24} th  rows   LiteRT OpenVINO  the better   worst row")
            for name, _, _, rows, (a, b, best), worst in self.classes(threads):
                cells = f"{number(a, 7)}x {number(b, 7)}x {number(best, 10)}x {number(worst, 10)}x"
                lines.append(f"{name:24} {threads:2} {len(rows):5} {cells}")
            lines.append("")
        lines.append("goals:")
        lines += [f"  {'reached' if reached else 'missed '}  {what}" for reached, what in self.goals()]
        lines.append("")
        ranked = sorted((r for r in self.good if speed(r, "best")), key=lambda r: speed(r, "best"))
        lost = [r for r in ranked if speed(r, "best") < 1]
        if lost:
            lines += [f"slower than the better peer, worst first ({len(lost)} of {len(ranked)}):", HEADER]
            lines += map(line, lost)
        if self.wrong:
            lines.append("in no mean, since outputs are not the peer's:")
            lines += sorted({f"  {name_of(r)}: cosine {number(r['cos'], form='.3f')}" for r in self.wrong})
        refused = list(dict.fromkeys(failure for r in self.rows for failure in failures(r)))
        if refused:
            lines += ["not run:", *(f"  {failure}" for failure in refused)]
        return "\n".join(lines).rstrip()

    def markdown(self):
        """Tables: classes, then every network."""
        lines = []
        for threads in self.threads:
            several = f", {threads} threads" if threads > 1 else ""
            lines += [f"| class{several} | networks | LiteRT | OpenVINO | the better | worst network |", "|---|--:|--:|--:|--:|--:|"]
            for name, _, _, rows, means, worst in self.classes(threads):
                cells = " | ".join(map(number, [*means, worst]))
                lines.append(f"| {name} | {len(rows)} | {cells} |")
            lines.append("")
        lines += ["| goal | |", "|---|---|"]
        lines += [f"| {what} | {'reached' if reached else 'missed'} |" for reached, what in self.goals()]
        lines.append("")
        lines += ["| network | class | LiteRT | OpenVINO | load + first | memory | threads |", "|---|---|--:|--:|--:|--:|--:|"]
        order = [name for name, _, _ in GOALS]
        names = unique_names(self.good)
        # The networks that are furthest behind the better peer first; those without a peer's figure last.
        worst = {}
        for row in self.good:
            ratio = speed(row, "best") or math.inf
            worst[row["path"]] = min(ratio, worst.get(row["path"], math.inf))
        rows = sorted(self.good, key=lambda r: (order.index(class_of(r)), worst[r["path"]], names[r["path"]].lower(), r["threads"]))
        for row in rows:
            cells = map(number, (speed(row, "litert"), speed(row, "openvino"), load(row), memory(row)))
            lines.append(f"| {names[row['path']]} | {class_of(row)} | {' | '.join(cells)} | {row['threads']} |")
        if self.wrong:
            lines += ["", "In no mean, since outputs are not the peer's: " + ", ".join({name_of(r) for r in self.wrong}) + "."]
        refused = sorted({name_of(r) for r in self.rows if "openvino_error" in r})
        if refused:
            lines += ["", "OpenVINO does not run: " + ", ".join(refused) + "."]
        return "\n".join(lines)


def verdict(what, value, goal, below=False):
    reached = value <= goal if below else value >= goal
    return reached, f"{what}: {value:.2f} ({'at most' if below else 'at least'} {goal:g})"


def unique_names(rows):
    """The end of each path that no other has, in parts between `/` and `__`."""
    parts = {row["path"]: re.split(r"/|\\|__", row["path"].removesuffix(".tflite")) for row in rows}
    names = {}
    for path, own in parts.items():
        take = 1
        while take < len(own) and any(p != path and other[-take:] == own[-take:] for p, other in parts.items()):
            take += 1
        names[path] = "/".join(own[-take:])
    return names


def write(path, summary):
    """Puts the tables between the two marker comments of a file."""
    text = path.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no {BEGIN} … {END}")
    path.write_text(f"{before}{BEGIN}\n\n{summary.markdown()}\n\n{END}{after}")
