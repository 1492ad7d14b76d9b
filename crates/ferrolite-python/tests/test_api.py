"""The behaviour of `tf.lite`'s interpreter, message by message, against ferrolite and LiteRT.

Every row is run on both packages and has to end as it says on both. Rows of `OURS` are where LiteRT is at fault (a crash,
or messages that pile up); they are run on ferrolite only.
"""

from __future__ import annotations

import dataclasses
import importlib
import pathlib
from typing import Any, Callable

import numpy as np
import pytest

LIVE = (
    "There is at least 1 reference to internal data\n      in the interpreter in the form of a numpy array or slice."
    " Be sure to\n      only hold the function returned from tensor() if you are using raw\n      data access."
)
NULL = "Tensor data is null. Run allocate_tensors() first"
UNALLOCATED = "Cannot set tensor: Tensor is unallocated. Try calling allocate_tensors() first"
NOT_READY = "Invoke called on model that is not ready."


@dataclasses.dataclass
class Package:
    """A package under test, and models for it."""

    api: Any
    content: bytes
    int8_content: bytes
    path: str

    def __call__(self, **arguments):
        return self.api.Interpreter(**{"model_content": self.content, **arguments})

    def ready(self, **arguments):
        interpreter = self(**arguments)
        interpreter.allocate_tensors()
        return interpreter

    def int8(self):
        return self.ready(model_content=self.int8_content)

    def file(self, **arguments):
        return self.api.Interpreter(**arguments)


@pytest.fixture(params=["ferrolite", "ai_edge_litert.interpreter"])
def package(request, network, int8_network, network_file):
    try:
        api = importlib.import_module(request.param)
    except ImportError:
        pytest.skip(f"{request.param} is not installed")
    return Package(api, network, int8_network, network_file)


@dataclasses.dataclass
class Row:
    name: str
    action: Callable
    raises: type | None = None
    text: Any = None
    gives: Any = None


def raises(name, kind, text, action):
    return Row(name, action, kind, text)


def gives(name, value, action):
    return Row(name, action, gives=value)


def X(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def do(interpreter, *steps):
    """Calls methods one after the other: (name, *arguments)."""
    result = None
    for method, *arguments in steps:
        result = getattr(interpreter, method)(*arguments)
    return result


def holding(interpreter, method, *arguments):
    """Calls a method while a view is alive."""
    view = interpreter.tensor(0)()
    try:
        return getattr(interpreter, method)(*arguments)
    finally:
        del view


def out(interpreter):
    return interpreter.get_output_details()[0]["index"]


def last(interpreter):
    return len(interpreter.get_tensor_details()) - 1


V, R = ValueError, RuntimeError
ROWS = [
    # Constructor.
    raises("no model", V, "`model_path` or `model_content` must be specified.", lambda p: p.file()),
    raises("empty content", V, "`model_path` or `model_content` must be specified.", lambda p: p.file(model_content=b"")),
    raises("two models", V, "Can't both provide `model_path` and `model_content`", lambda p: p(model_path=p.path)),
    raises(
        "missing file",
        V,
        "Could not open '/nope.tflite'.The model allocation is null/empty",
        lambda p: p.file(model_path="/nope.tflite"),
    ),
    raises("garbage", V, "The model is not a valid Flatbuffer buffer", lambda p: p(model_content=b"garbage")),
    raises("long garbage", V, "The model is not a valid Flatbuffer buffer", lambda p: p(model_content=b"garbage!" * 99)),
    raises("truncated", V, "The model is not a valid Flatbuffer buffer", lambda p: p(model_content=p.content[:400])),
    raises("threads: text", V, "type of num_threads should be int", lambda p: p(num_threads="2")),
    raises("threads: float", V, "type of num_threads should be int", lambda p: p(num_threads=2.0)),
    raises("threads: numpy", V, "type of num_threads should be int", lambda p: p(num_threads=np.int32(2))),
    raises("threads: 0", V, "num_threads should >= 1", lambda p: p(num_threads=0)),
    raises("threads: -1", V, "num_threads should >= 1", lambda p: p(num_threads=-1)),
    raises(
        "resolver",
        V,
        "Unrecognized passed in op resolver type: 1",
        lambda p: p(experimental_op_resolver_type=1),
    ),
    gives("path", 1, lambda p: p.file(model_path=p.path).num_subgraphs()),
    gives("pathlib", 1, lambda p: p.file(model_path=pathlib.Path(p.path)).num_subgraphs()),
    gives("path as bytes", 1, lambda p: p.file(model_path=p.path.encode()).num_subgraphs()),
    gives("path by position", 1, lambda p: p.api.Interpreter(p.path).num_subgraphs()),
    raises(
        "path: number",
        TypeError,
        "expected str, bytes or os.PathLike object, not int",
        lambda p: p.file(model_path=3),
    ),
    gives(
        "every argument",
        1,
        lambda p: p(
            experimental_delegates=[],
            num_threads=2,
            experimental_op_resolver_type=p.api.OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,
            experimental_disable_delegate_clustering=True,
            experimental_default_delegate_latest_features=True,
            experimental_compress_quantization_zero_points=True,
            experimental_disable_delegate_node_fusion=True,
            experimental_force_delegate_node_profiling=True,
        ).num_subgraphs(),
    ),
    gives("resolvers", [0, 1, 2, 3], lambda p: [r.value for r in p.api.OpResolverType]),
    gives("zero points", True, lambda p: p(experimental_compress_quantization_zero_points=True)
          .experimental_compress_quantization_zero_points),
    gives("zero points: default", False, lambda p: p().experimental_compress_quantization_zero_points),
    # Before allocation.
    raises("invoke before", R, NOT_READY, lambda p: p().invoke()),
    raises("get before", V, NULL, lambda p: p().get_tensor(0)),
    raises("view before", V, NULL, lambda p: p().tensor(0)()),
    raises("set before", V, UNALLOCATED, lambda p: p().set_tensor(0, X(1, 8, 8, 1))),
    gives("reset before", None, lambda p: p().reset_all_variables()),
    gives("returns", [None] * 4, lambda p: [
        (i := p()).allocate_tensors(), i.set_tensor(0, X(1, 8, 8, 1)), i.invoke(), i.reset_all_variables()]),
    gives("allocate twice", None, lambda p: do(p(), ("allocate_tensors",), ("allocate_tensors",), ("invoke",))),
    # Indices.
    raises("set: index", V, "Invalid tensor index 999 exceeds max tensor index {last}",
           lambda p: p.ready().set_tensor(999, X(1))),
    raises("set: -1", V, "Invalid tensor index -1 exceeds max tensor index {last}",
           lambda p: p.ready().set_tensor(-1, X(1))),
    raises("get: index", V, "Invalid tensor index 999 exceeds max tensor index {last}",
           lambda p: p.ready().get_tensor(999)),
    raises("get: subgraph", V, "Invalid subgraph index 5 exceeds max subgraph index 1",
           lambda p: p.ready().get_tensor(0, 5)),
    raises("get: subgraph -1", V, "Invalid subgraph index -1 exceeds max subgraph index 1",
           lambda p: p.ready().get_tensor(0, -1)),
    raises("details: subgraph", V, "subgraph_index is out of range: 5 for the model, which has 1 subgraphs.",
           lambda p: p().get_tensor_details(5)),
    raises("details: subgraph -1", V, "subgraph_index is out of range: -1 for the model, which has 1 subgraphs.",
           lambda p: p().get_tensor_details(-1)),
    raises("details: index", V, "Invalid tensor index 999 exceeds max tensor index {last}",
           lambda p: p()._get_tensor_details(999, 0)),
    raises("op: index", V, "Invalid node index", lambda p: p()._get_op_details(999)),
    raises("set: index is text", TypeError, None, lambda p: p.ready().set_tensor("0", X(1, 8, 8, 1))),
    raises("set: index is a float", TypeError, None, lambda p: p.ready().set_tensor(0.0, X(1, 8, 8, 1))),
    gives("set: index is numpy's", None, lambda p: p.ready().set_tensor(np.int64(0), X(1, 8, 8, 1))),
    # Values.
    raises("set: float64", V, "Cannot set tensor: Got value of type FLOAT64 but expected type FLOAT32 for input 0, name: image ",
           lambda p: p.ready().set_tensor(0, X(1, 8, 8, 1, dtype=np.float64))),
    raises("set: uint8", V, "Cannot set tensor: Got value of type UINT8 but expected type FLOAT32 for input 0, name: image ",
           lambda p: p.ready().set_tensor(0, X(1, 8, 8, 1, dtype=np.uint8))),
    raises("set: list", V, "Cannot set tensor: Got value of type FLOAT64 but expected type FLOAT32 for input 0, name: image ",
           lambda p: p.ready().set_tensor(0, X(1, 8, 8, 1).tolist())),
    raises("set: text", V, "Cannot set tensor: Got value of type STRING but expected type FLOAT32 for input 0, name: image ",
           lambda p: p.ready().set_tensor(0, "abc")),
    raises("set: None", V, "Cannot set tensor: Got value of type STRING but expected type FLOAT32 for input 0, name: image ",
           lambda p: p.ready().set_tensor(0, None)),
    raises("set: ragged", V, "Failed to convert value into readable tensor.",
           lambda p: p.ready().set_tensor(0, [[1], [1, 2]])),
    raises("set: type first", V, "Cannot set tensor: Got value of type INT32 but expected type FLOAT32 for input 0, name: image ",
           lambda p: p().set_tensor(0, X(2, dtype=np.int32))),
    raises("set: rank", V, "Cannot set tensor: Dimension mismatch. Got 3 but expected 4 for input 0.",
           lambda p: p.ready().set_tensor(0, X(8, 8, 1))),
    raises("set: batch", V, "Cannot set tensor: Dimension mismatch. Got 2 but expected 1 for dimension 0 of input 0.",
           lambda p: p.ready().set_tensor(0, X(2, 8, 8, 1))),
    raises("set: size", V, "Cannot set tensor: Dimension mismatch. Got 9 but expected 8 for dimension 2 of input 0.",
           lambda p: p.ready().set_tensor(0, X(1, 8, 9, 1))),
    raises("set: float for int8", V, "Cannot set tensor: Got value of type FLOAT32 but expected type INT8 for input 0, name: image ",
           lambda p: p.int8().set_tensor(0, X(1, 8, 8, 1))),
    gives("set: strided", 3.0, lambda p: (
        (i := p.ready()).set_tensor(0, np.arange(128, dtype=np.float32)[::2].reshape(1, 8, 8, 1) * 1.5),
        i.get_tensor(0).ravel()[1])[1]),
    gives("set: fortran order", True, lambda p: (
        (i := p.ready()), (x := np.asfortranarray(np.random.rand(1, 8, 8, 1).astype(np.float32))),
        i.set_tensor(0, x), np.array_equal(i.get_tensor(0), x))[-1]),
    gives("set: read-only", None, lambda p: (
        (x := X(1, 8, 8, 1)), x.setflags(write=False), p.ready().set_tensor(0, x))[-1]),
    gives("get: copy", 0.0, lambda p: (
        (i := p.ready()).set_tensor(0, X(1, 8, 8, 1)), i.get_tensor(0).fill(7), i.get_tensor(0).max())[-1]),
    gives("get: constant before allocation", True, lambda p: p().get_tensor(1).size > 0),
    # Resizing.
    raises("resize: 2-D", V, "Shape should be 1D instead of 2.", lambda p: p().resize_tensor_input(0, [[1]])),
    raises("resize: scalar", V, "Shape should be 1D instead of 0.", lambda p: p().resize_tensor_input(0, 3)),
    raises("resize: text", V, "invalid literal for int() with base 10: 'a'", lambda p: p().resize_tensor_input(0, ["a"])),
    raises("resize: index", R, None, lambda p: p().resize_tensor_input(999, [1])),
    raises("resize: negative", R, None, lambda p: p().resize_tensor_input(0, [-1, 8, 8, 1])),
    raises(
        "resize: strict",
        R,
        "Attempting to resize dimension 1 of tensor 0 with value 8 to 9. ResizeInputTensorStrict only allows mutating "
        "unknown dimensions identified by -1.",
        lambda p: p().resize_tensor_input(0, [1, 9, 8, 1], strict=True),
    ),
    gives("resize: strict, open", [3, 8, 8, 1], lambda p: (
        (i := p()).resize_tensor_input(0, [3, 8, 8, 1], strict=True), i.get_input_details()[0]["shape"].tolist())[1]),
    gives("resize: not yet", [[3, 8, 8, 1], [1, 4]], lambda p: (
        (i := p()).resize_tensor_input(0, (3, 8, 8, 1)),
        [i.get_input_details()[0]["shape"].tolist(), i.get_output_details()[0]["shape"].tolist()])[1]),
    gives("resize: allocated", [[3, 8, 8, 1], [3, 4]], lambda p: (
        (i := p()).resize_tensor_input(0, np.array([3, 8, 8, 1])), i.allocate_tensors(), i.invoke(),
        [i.get_tensor(0).shape and list(i.get_tensor(0).shape), list(i.get_tensor(out(i)).shape)])[-1]),
    gives("resize: signature stays", [-1, 8, 8, 1], lambda p: (
        (i := p()).resize_tensor_input(0, [3, 8, 8, 1]), i.get_input_details()[0]["shape_signature"].tolist())[1]),
    raises("resize: get", V, NULL, lambda p: do(p.ready(), ("resize_tensor_input", 0, [3, 8, 8, 1]), ("get_tensor", 0))),
    raises("resize: set", V, UNALLOCATED, lambda p: do(
        p.ready(), ("resize_tensor_input", 0, [3, 8, 8, 1]), ("set_tensor", 0, X(3, 8, 8, 1)))),
    raises("resize: invoke", R, NOT_READY, lambda p: do(
        p.ready(), ("resize_tensor_input", 0, [3, 8, 8, 1]), ("invoke",))),
    gives("resize: same shape", None, lambda p: do(
        p.ready(), ("resize_tensor_input", 0, [1, 8, 8, 1]), ("invoke",))),
    raises("resize: impossible", R, None, lambda p: do(
        p.ready(), ("resize_tensor_input", 0, [1, 8, 8, 3]), ("allocate_tensors",))),
    # Views.
    raises("view: invoke", R, LIVE, lambda p: holding(p.ready(), "invoke")),
    raises("view: allocate", R, LIVE, lambda p: holding(p.ready(), "allocate_tensors")),
    raises("view: resize", R, LIVE, lambda p: holding(p.ready(), "resize_tensor_input", 0, [1, 8, 8, 1])),
    raises("view: _ensure_safe", R, LIVE, lambda p: holding(p.ready(), "_ensure_safe")),
    gives("view: set", None, lambda p: holding(p.ready(), "set_tensor", 0, X(1, 8, 8, 1))),
    gives("view: get", (1, 8, 8, 1), lambda p: holding(p.ready(), "get_tensor", 0).shape),
    gives("view: function held", None, lambda p: (
        (i := p.ready()), (f := i.tensor(0)), f().fill(1), i.invoke(), f().fill(2), i.invoke())[-1]),
    gives("view: writes", 5.0, lambda p: ((i := p.ready()), i.tensor(0)().fill(5), i.get_tensor(0).max())[-1]),
    gives("view: sees", 2.0, lambda p: (
        (i := p.ready()), (v := i.tensor(0)()), i.set_tensor(0, X(1, 8, 8, 1) + 2), float(v.max()))[-1]),
    gives("view: flags", (True, False), lambda p: (
        (v := p.ready().tensor(0)()), (v.flags.writeable, v.flags.owndata))[-1]),
    raises("view: index", V, "Invalid tensor index 999 exceeds max tensor index {last}", lambda p: p.ready().tensor(999)()),
    # Details.
    gives("details: keys", ["name", "index", "shape", "shape_signature", "dtype", "quantization",
                            "quantization_parameters", "sparsity_parameters"],
          lambda p: list(p().get_input_details()[0])),
    gives("details: quantization keys", ["scales", "zero_points", "quantized_dimension", "block_size"],
          lambda p: list(p().get_input_details()[0]["quantization_parameters"])),
    gives("details: input", ("image", 0, [1, 8, 8, 1], [-1, 8, 8, 1], np.float32, (0.0, 0), {}), lambda p: (
        (d := p().get_input_details()[0]),
        (d["name"], d["index"], d["shape"].tolist(), d["shape_signature"].tolist(), d["dtype"], d["quantization"],
         d["sparsity_parameters"]))[1]),
    gives("details: types", [int, np.dtype("int32"), np.dtype("int32"), np.dtype("float32"), np.dtype("int32"), int, int],
          lambda p: (
        (d := p().get_input_details()[0]), (q := d["quantization_parameters"]),
        [type(d["index"]), d["shape"].dtype, d["shape_signature"].dtype, q["scales"].dtype, q["zero_points"].dtype,
         type(q["quantized_dimension"]), type(q["block_size"])])[-1]),
    gives("details: quantization types", [tuple, float, int], lambda p: (
        (d := p.int8().get_input_details()[0]),
        [type(d["quantization"]), type(d["quantization"][0]), type(d["quantization"][1])])[-1]),
    gives("details: int8", (np.int8, -128), lambda p: (
        (d := p.int8().get_input_details()[0]), (d["dtype"], d["quantization"][1]))[1]),
    gives("ops: keys", ["index", "op_name", "inputs", "outputs", "operand_types", "result_types"],
          lambda p: list(p()._get_op_details(0))),
    gives("ops", ["CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED"],
          lambda p: [o["op_name"] for o in p()._get_ops_details()]),
    gives("op", (0, [0, 1, 2], np.dtype("int32"), [np.float32] * 3, [np.float32]), lambda p: (
        (o := p()._get_op_details(0)),
        (o["index"], o["inputs"].tolist(), o["inputs"].dtype, o["operand_types"], o["result_types"]))[1]),
    gives("wrapper", [1, 4, "CONV_2D", [0]], lambda p: (
        (w := p()._interpreter), [w.NumSubgraphs(), w.NumNodes(), w.NodeName(0), list(w.InputIndices())])[1]),
    gives("native handle", int, lambda p: type(p()._native_handle())),
    # Signatures.
    gives("signatures", {"serving_default": {"inputs": ["image"], "outputs": ["output"]}},
          lambda p: p().get_signature_list()),
    raises("runner: key", V, 'Invalid signature_key provided: "zz".', lambda p: p().get_signature_runner("zz")),
    raises("runner: nothing", V, "None interpreter provided.", lambda p: p.api.SignatureRunner()),
    raises("runner: no key", V, "None signature_key provided.", lambda p: p.api.SignatureRunner(p())),
    raises("runner: few", V, "Invalid number of inputs provided for running a SignatureDef, expected 1 vs provided 0",
           lambda p: p().get_signature_runner()()),
    raises("runner: name", V, "Invalid Input name (zz) for SignatureDef",
           lambda p: p().get_signature_runner()(zz=X(1, 8, 8, 1))),
    raises("runner: list", AttributeError, "'list' object has no attribute 'shape'",
           lambda p: p().get_signature_runner()(image=[1.0])),
    raises("runner: dtype", V, "Cannot set tensor: Got value of type FLOAT64 but expected type FLOAT32 for input 0, name: image ",
           lambda p: p().get_signature_runner()(image=X(1, 8, 8, 1, dtype=np.float64))),
    gives("runner: batch", {"output": (5, 4)}, lambda p: {
        k: v.shape for k, v in p().get_signature_runner("serving_default")(image=X(5, 8, 8, 1)).items()}),
    gives("runner: details", (["image"], ["output"]), lambda p: (
        (r := p().get_signature_runner()), (list(r.get_input_details()), list(r.get_output_details())))[1]),
    # Delegates.
    raises("delegate: library", OSError, None, lambda p: p.api.load_delegate("no_such_library.so")),
    raises("delegate: object", AttributeError, "'object' object has no attribute '_get_native_delegate_pointer'",
           lambda p: p(experimental_delegates=[object()])),
]


def check(row, package):
    if row.raises is None:
        result = row.action(package)
        assert result == row.gives
        return
    with pytest.raises(row.raises) as caught:
        row.action(package)
    # A subclass must not surprise those who compare types; NotImplementedError is a RuntimeError.
    assert type(caught.value) in (row.raises, NotImplementedError)
    if row.text is not None:
        assert str(caught.value) == row.text.replace("{last}", str(len(package().get_tensor_details())))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_api(row, package):
    check(row, package)


OURS = [
    # LiteRT refuses: the runner holds what it counts.
    gives("runner does not block", None, lambda p: (
        (i := p.ready()), (r := i.get_signature_runner()), i.invoke(), i.allocate_tensors(), r and None)[-1]),
    # LiteRT keeps the texts of earlier errors.
    raises("messages do not pile up", R, NOT_READY, lambda p: (
        (i := p()), [pytest.raises(R, i.invoke) for _ in range(3)], i.invoke())),
    # LiteRT reads them as native.
    gives("set: big-endian", 3.0, lambda p: (
        (i := p.ready()).set_tensor(0, np.full((1, 8, 8, 1), 3, ">f4")), float(i.get_tensor(0).max()))[1]),
    # LiteRT crashes.
    raises("details: bad subgraph", V, "Invalid subgraph index 5 exceeds max subgraph index 1",
           lambda p: p()._get_tensor_details(0, 5)),
    # LiteRT has to be created anew.
    gives("resize: failed, still usable", (1, 4), lambda p: (
        (i := p.ready()), pytest.raises(R, i.resize_tensor_input, 0, [-1]), i.invoke(), i.get_tensor(out(i)).shape)[-1]),
    gives("bytearray", 1, lambda p: p(model_content=bytearray(p.content)).num_subgraphs()),
    # LiteRT writes into the model.
    raises("set: constant", V, None, lambda p: p.ready().set_tensor(1, p.ready().get_tensor(1))),
    gives("view: constant is read-only", False, lambda p: p.ready().tensor(1)().flags.writeable),
    raises("delegate: refused", V, None, lambda p: p.api.load_delegate("libc.so.6")),
    raises("custom ops", V, None, lambda p: p.api.InterpreterWithCustomOps(["f"], model_content=p.content)),
    gives("custom ops: none", 1, lambda p: p.api.InterpreterWithCustomOps(model_content=p.content).num_subgraphs()),
    gives("cause", True, lambda p: (
        (e := pytest.raises(V, p, model_content=b"garbage")), e.value.__cause__ is not None)[-1]),
]


@pytest.mark.parametrize("row", OURS, ids=lambda row: row.name)
def test_better_than_the_peer(row, network, int8_network, network_file):
    check(row, Package(importlib.import_module("ferrolite"), network, int8_network, network_file))
