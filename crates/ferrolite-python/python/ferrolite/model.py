"""`Model`: a model as a function of arrays."""

from __future__ import annotations

import asyncio
import html
import json
import os
from typing import Any, Dict, Iterable, List, Sequence

import numpy as np

from . import _ferrolite
from .interpreter import _open

__all__ = ["Benchmark", "Model", "Profile"]


class Model:
    """A model that is called with arrays.

    ::

        model = Model("model.tflite")
        y = model(x)                      # one input, one output
        y = model(image=x, size=n)        # by name
        ys = model(batch)                 # along the first dimension
        y = await model.acall(x)

    Inputs are NumPy arrays or anything that offers DLPack, ``__array_interface__`` or ``__array__``. They are cast to
    the inputs' types where that keeps their kind (float64 to float32, but not float to int8). A single output is returned
    as an array, several as a dictionary by name. May be called from several threads, one after the other.

    Arrays may have the inputs' shapes [n, ...], another first dimension (a batch, which a model made for fewer samples
    runs part by part), or, as one sample, lack the first dimension; then the outputs lack it too.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        num_threads: int | None = None,
        signature: str | None = None,
    ):
        """Reads a model.

        Args:
          model: The file, or its bytes.
          num_threads: Threads that share the work; 1 if not given.
          signature: Key of the signature to run; the first, or the main graph, if not given.
        """
        is_content = isinstance(model, (bytes, bytearray, memoryview))
        self.name = "model" if is_content else os.path.basename(os.fsdecode(model))
        self._interpreter = _open(model, num_threads)
        self._wrapper = self._interpreter._interpreter
        self._num_threads = num_threads or 1
        definitions = self._interpreter._get_full_signature_list()
        if signature is not None and signature not in definitions:
            raise ValueError(f"there is no signature {signature!r}, only {list(definitions)}")
        key = signature if signature is not None else next(iter(definitions), None)
        if key is not None and signature is None and self._wrapper.GetSubgraphIndexFromSignature(key) != 0:
            key = None
        if key is None:
            self._subgraph = 0
            self._inputs = _by_name(self._interpreter.get_input_details())
            self._outputs = _by_name(self._interpreter.get_output_details())
        else:
            self._subgraph = self._wrapper.GetSubgraphIndexFromSignature(key)
            inputs, outputs = definitions[key]["inputs"], definitions[key]["outputs"]
            # Positional arguments follow the model's order, which the names of a signature do not.
            order = [int(i) for i in self._wrapper.InputIndices()] if self._subgraph == 0 else list(inputs.values())
            place = {index: i for i, index in enumerate(order)}
            self._inputs = dict(sorted(inputs.items(), key=lambda item: place.get(item[1], len(place))))
            self._outputs = dict(outputs)
        self._types = {n: self._wrapper.TensorDetails(i, self._subgraph)["dtype"] for n, i in self._inputs.items()}
        self._runner = _ferrolite.Runner(self._wrapper, self._subgraph, self._num_threads)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_runner", "_wrapper")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._wrapper = self._interpreter._interpreter
        self._runner = _ferrolite.Runner(self._wrapper, self._subgraph, self._num_threads)

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs, in the order of positional arguments."""
        return list(self._inputs)

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs."""
        return list(self._outputs)

    def __call__(self, *args: Any, **kwargs: Any) -> np.ndarray | dict[str, np.ndarray]:
        """Runs the model.

        Args:
          *args: One array per input, in the order of `input_names`.
          **kwargs: Arrays by name.

        Returns:
          The output, or the outputs by name.

        Raises:
          TypeError: There are more or fewer arrays than inputs, or one is of another kind of type.
          ValueError: A shape does not fit.
        """
        given = self._bind(args, kwargs)
        inputs = [(index, _cast(name, given[name], self._types[name])) for name, index in self._inputs.items()]
        results = self._runner.run(inputs, list(self._outputs.values()))
        return results[0] if len(results) == 1 else dict(zip(self._outputs, results))

    async def acall(self, *args: Any, **kwargs: Any) -> np.ndarray | dict[str, np.ndarray]:
        """Runs the model in a thread, so that the event loop goes on; see `__call__`."""
        return await asyncio.to_thread(self, *args, **kwargs)

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, np.ndarray]:
        names = self.input_names
        if len(args) > len(names):
            raise TypeError(f"the model has {len(names)} inputs {names}, not {len(args)}")
        given = dict(zip(names, args))
        for name, value in kwargs.items():
            if name not in self._inputs:
                raise TypeError(f"there is no input {name!r}; the model has {names}")
            if name in given:
                raise TypeError(f"input {name!r} is given twice")
            given[name] = value
        missing = [name for name in names if name not in given]
        if missing:
            raise TypeError(f"inputs {missing} are missing")
        return {name: _array(value) for name, value in given.items()}

    def info(self) -> dict[str, Any]:
        """Facts about the model: operators, tensors, nodes, sizes, multiply-accumulates of one run."""
        facts: dict[str, Any] = json.loads(_ferrolite.info(self._wrapper))
        return facts

    def benchmark(
        self,
        num_threads: int | None = None,
        runs: int | None = None,
        seconds: float = 2.0,
        warm_up: float = 0.3,
        seed: int = 1,
    ) -> Benchmark:
        """Measures the time of a run on random inputs.

        Args:
          num_threads: Threads; the model's own number if not given.
          runs: Counted runs; as many as fit into ``seconds`` if not given.
          seconds: Time for counted runs.
          warm_up: Seconds of runs that are not counted.
          seed: Of the inputs.

        Returns:
          Times in microseconds by name; prints as text.
        """
        threads = num_threads or self._num_threads
        return Benchmark(json.loads(_ferrolite.bench(self._wrapper, threads, runs, seconds, warm_up, False, seed)))

    def profile(self, num_threads: int | None = None, runs: int | None = None, seconds: float = 1.0) -> Profile:
        """Measures the time of every step on random inputs.

        Returns:
          A dictionary per step, most time first, times in microseconds; prints as a table.
        """
        threads = num_threads or self._num_threads
        report = json.loads(_ferrolite.bench(self._wrapper, threads, runs, seconds, 0.1, True, 1))
        return Profile(report["steps"])

    def summary(self) -> str:
        """The model as text: inputs, outputs and nodes with the types and shapes of their results and their MACs."""
        info = self.info()
        lines = [repr(self), "", *_table(_NODES, self._nodes(info)), ""]
        lines.append(f"parameters: {info['parameters']:,}   constants: {info['constant_bytes']:,} bytes")
        lines.append(f"MACs: {info['macs']:,}   numbers: {info['quantization']}")
        return "\n".join(lines)

    def _nodes(self, info: dict[str, Any]) -> list[tuple[str, ...]]:
        """What is told of every node, and every result of one that has several."""
        graph = info["subgraphs"][self._subgraph]
        rows: list[tuple[str, ...]] = []
        for node in graph["nodes"]:
            head = (str(node["id"]), node["operator"])
            macs = f"{node['macs']:,}"
            for index in node["outputs"]:
                tensor = graph["tensors"][index]
                shape = _shape(tensor["shape"])
                rows.append((*head, tensor["name"], tensor["type"], shape, macs))
                head, macs = ("", ""), ""
            if not node["outputs"]:
                rows.append((*head, "", "", "", macs))
        return rows

    def _describe(self, names: dict[str, int]) -> str:
        def one(name: str, index: int) -> str:
            d = self._wrapper.TensorDetails(index, self._subgraph)
            return f"{name}: {_type(d['dtype'])}{_shape(d['shape_signature'])}"

        return ", ".join(one(name, index) for name, index in names.items())

    def __repr__(self) -> str:
        return f"<ferrolite.Model {self.name!r}: {self._describe(self._inputs)} -> {self._describe(self._outputs)}>"

    def _repr_html_(self) -> str:
        info = self.info()
        sides = []
        for side, names in (("input", self._inputs), ("output", self._outputs)):
            for name, index in names.items():
                d = self._wrapper.TensorDetails(index, self._subgraph)
                sides.append((side, name, _type(d["dtype"]), _shape(d["shape_signature"]), _real(*d["quantization"])))
        facts = (
            f"{info['parameters']:,} parameters, {info['constant_bytes']:,} bytes of constants, {info['macs']:,} MACs, "
            f"{info['quantization']}"
        )
        nodes = self._nodes(info)
        return (
            f'<div style="line-height:1.5"><b>{html.escape(self.name)}</b><br><small>{html.escape(facts)}</small>'
            f"{_html_table(('', 'name', 'type', 'shape', 'real value'), sides)}"
            f"<details><summary>{len(info['subgraphs'][self._subgraph]['nodes'])} nodes</summary>"
            f"{_html_table(_NODES, nodes)}</details></div>"
        )


class Benchmark(Dict[str, Any]):
    """What `Model.benchmark` measured."""

    def __str__(self) -> str:
        times = self["latency_us"]
        return (
            f"{times['median']:.1f} us median of {self['runs']} runs (min {times['min']:.1f}, p90 {times['p90']:.1f}), "
            f"{self['threads']} thread{'s' if self['threads'] != 1 else ''}, {self['isa']}, "
            f"{self['gmacs_per_second']:.1f} GMAC/s, {self['arena_bytes']:,} bytes of memory"
        )

    __repr__ = __str__


class Profile(List[Dict[str, Any]]):
    """What `Model.profile` measured."""

    def __str__(self) -> str:
        return "\n".join(_table(_STEPS, self._rows()))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return _html_table(_STEPS, self._rows())

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (str(s["node"]), s["operator"], f"{s['time_us']:.1f}", f"{100 * s['share']:.1f} %", s["kernel"], s["output"])
            for s in self
        ]


def _by_name(details: list[dict[str, Any]]) -> dict[str, int]:
    """Tensor names with their indices; names that occur twice get their position."""
    names: dict[str, int] = {}
    for i, d in enumerate(details):
        name = d["name"] if d["name"] and d["name"] not in names else f"{d['name']}_{i}"
        names[name] = d["index"]
    return names


def _array(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "__dlpack__"):
        try:
            return np.from_dlpack(value)
        except (AttributeError, BufferError, RuntimeError, TypeError):
            pass  # On another device or of a type that NumPy lacks: its own conversion says so, or does it.
    return np.asarray(value)


def _cast(name: str, value: np.ndarray, dtype: Any) -> np.ndarray:
    if dtype is np.bytes_:
        return value if value.dtype.kind in "SUO" else value.astype("S")
    # Python numbers come as int64 or float64; their kind counts.
    if value.dtype == dtype or np.can_cast(value.dtype, dtype, "same_kind"):
        return value.astype(dtype, copy=False)
    raise TypeError(f"input {name!r} takes {np.dtype(dtype).name}, not {value.dtype}; convert it first")


#: Heads of tables. What is in `_NUMBERS` is aligned to the right.
_NODES = ("node", "operator", "output", "type", "shape", "MACs")
_STEPS = ("node", "operator", "us", "share", "kernel", "output")
_NUMBERS = {"node", "us", "share", "MACs"}


def _type(dtype: Any) -> str:
    return "string" if dtype is np.bytes_ else np.dtype(dtype).name


def _shape(dims: Iterable[int]) -> str:
    return f"[{', '.join('?' if n == -1 else str(n) for n in dims)}]"


def _real(scale: float, zero_point: int) -> str:
    """What a quantized number q stands for."""
    if not scale:
        return ""
    sign = "+" if zero_point < 0 else "\u2212"
    shifted = f"(q {sign} {abs(zero_point)})" if zero_point else "q"
    return f"{scale:.4g} \u00b7 {shifted}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        parts = [c.rjust(w) if h in _NUMBERS else c.ljust(w) for h, c, w in zip(head, cells, widths)]
        return "  ".join(parts).rstrip()

    return [line(head), "-" * (sum(widths) + 2 * len(widths) - 2), *map(line, rows)]


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cell(tag: str, name: str, text: str) -> str:
        side = "right" if name in _NUMBERS else "left"
        return f'<{tag} style="text-align:{side};padding:1px 10px;white-space:nowrap">{html.escape(text)}</{tag}>'

    lines = [(head, "th"), *((row, "td") for row in rows)]
    body = "".join(f"<tr>{''.join(cell(tag, *pair) for pair in zip(head, row))}</tr>" for row, tag in lines)
    return f'<div style="overflow-x:auto"><table style="font-size:90%;border-collapse:collapse">{body}</table></div>'
