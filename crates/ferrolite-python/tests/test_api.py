"""The behaviour of `tf.lite`'s interpreter, message by message, against ferrolite and LiteRT.

Every row is run on both packages and has to end as it says on both. Rows of `OURS` are where LiteRT is at fault (a crash,
or messages that pile up); they are run on ferrolite only.
"""

from __future__ import annotations

import array
import dataclasses
import importlib
import inspect
import pathlib
from typing import Any, Callable

import numpy as np
import pytest
from conftest import opsuite

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

    def case(self, name, allocate=True):
        """An interpreter of a conformance case."""
        if opsuite() is None:
            pytest.skip("no conformance cases: set FERROLITE_OPSUITE")
        interpreter = self.api.Interpreter(model_path=str(opsuite() / f"{name}.tflite"))
        if allocate:
            interpreter.allocate_tensors()
        return interpreter


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


class Interface:
    """Offers an array's memory, and nothing else."""

    def __init__(self, values):
        self.values, self.__array_interface__ = values, values.__array_interface__


class Convertible:
    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values


def kept(interpreter, value):
    """Whether an input holds what it was given."""
    interpreter.set_tensor(0, value)
    return np.array_equal(interpreter.get_tensor(0), np.asarray(value))


def parameters(function):
    return [name for name in inspect.signature(function).parameters if name != "self"]


def string_input(interpreter):
    return interpreter.get_input_details()[0]["index"]


def through(interpreter, value):
    """What comes out of a model that copies strings."""
    interpreter.set_tensor(string_input(interpreter), value)
    interpreter.invoke()
    return interpreter.get_tensor(out(interpreter)).tolist()


def zero_points(interpreter):
    return [d["quantization_parameters"]["zero_points"].tolist() for d in interpreter.get_tensor_details()]


STRINGS = "(none)__str__move0"
NARROW = "concatenation__i4__n2_a0_r2"
TWO = "add__f32__two_signatures1"
B = np.arange(64, dtype=np.float32).reshape(1, 8, 8, 1)
S = np.arange(6, dtype=np.float32).reshape(2, 3)

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
    gives("threads: None", 1, lambda p: p(num_threads=None).num_subgraphs()),
    gives("threads: True", 1, lambda p: p(num_threads=True).num_subgraphs()),
    raises("threads: 41 bits", TypeError, None, lambda p: p(num_threads=1 << 40)),
    raises("resolver: None", V, "Unrecognized passed in op resolver type: None",
           lambda p: p(experimental_op_resolver_type=None)),
    raises("resolver: list", TypeError, None, lambda p: p(experimental_op_resolver_type=[])),
    raises("resolver before threads", V, "Unrecognized passed in op resolver type: 7",
           lambda p: p(experimental_op_resolver_type=7, num_threads="x")),
    raises("threads before model", V, "type of num_threads should be int", lambda p: p.file(num_threads="x")),
    raises("content: text", TypeError, None, lambda p: p(model_content="abc")),
    raises("content: number", TypeError, None, lambda p: p(model_content=5)),
    raises("content: list", TypeError, None, lambda p: p(model_content=[1])),
    raises("content: array", V, None, lambda p: p(model_content=np.frombuffer(p.content, np.uint8))),
    gives("content: more follows", 1, lambda p: p(model_content=p.content + b"junk" * 9).num_subgraphs()),
    raises("content: other kind", V, "The model is not a valid Flatbuffer buffer",
           lambda p: p(model_content=p.content[:4] + b"TFL2" + p.content[8:])),
    raises("content: zeros", V, "The model is not a valid Flatbuffer buffer", lambda p: p(model_content=bytes(999))),
    raises("path: empty file", V, "mmap of size 0 requested.The model allocation is null/empty",
           lambda p: ((f := pathlib.Path(p.path).with_name("empty.tflite")).touch(), p.file(model_path=f))),
    raises("path: not a model", V, "The model is not a valid Flatbuffer buffer", lambda p: p.file(model_path=__file__)),
    raises("path: directory", V, None, lambda p: p.file(model_path=pathlib.Path(p.path).parent)),
    raises("path: Path, missing", V, "Could not open '/nope/x.tflite'.The model allocation is null/empty",
           lambda p: p.file(model_path=pathlib.Path("/nope/x.tflite"))),
    raises("path: empty", V, "`model_path` or `model_content` must be specified.", lambda p: p.file(model_path="")),
    gives("path: numpy text", 1, lambda p: p.file(model_path=np.str_(p.path)).num_subgraphs()),
    *[raises(f"flag: {name}", TypeError, None, lambda p, name=name: p(**{name: "yes"}))
      for name in ("experimental_preserve_all_tensors", "experimental_disable_delegate_clustering",
                   "experimental_default_delegate_latest_features", "experimental_compress_quantization_zero_points",
                   "experimental_disable_delegate_node_fusion", "experimental_force_delegate_node_profiling")],
    gives("flag: None", 1, lambda p: p(experimental_preserve_all_tensors=None).num_subgraphs()),
    gives("flag: 1", 1, lambda p: p(experimental_compress_quantization_zero_points=1).num_subgraphs()),
    raises("delegates: number", TypeError, None, lambda p: p(experimental_delegates=5)),
    raises("unknown argument", TypeError, None, lambda p: p(foo=1)),
    gives("parameters", ["model_path", "model_content", "experimental_delegates", "num_threads",
                         "experimental_op_resolver_type", "experimental_preserve_all_tensors",
                         "experimental_disable_delegate_clustering", "experimental_default_delegate_latest_features",
                         "experimental_compress_quantization_zero_points",
                         "experimental_disable_delegate_node_fusion", "experimental_force_delegate_node_profiling"],
          lambda p: parameters(p.api.Interpreter.__init__)),
    gives("parameters: methods", [["tensor_index", "value"], ["tensor_index", "subgraph_index"], ["tensor_index"],
                                  ["input_index", "tensor_size", "strict"], ["subgraph_index"], ["signature_key"]],
          lambda p: [parameters(getattr(p.api.Interpreter, m)) for m in (
              "set_tensor", "get_tensor", "tensor", "resize_tensor_input", "get_tensor_details",
              "get_signature_runner")]),
    gives("attributes", (True, [], [], {"serving_default": {"inputs": ["image"], "outputs": ["output"]}}), lambda p: (
        (i := p()), (i._model_content == p.content, i._delegates, i._custom_op_registerers, i._signature_defs))[1]),
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
    raises("set: 32 bits", TypeError, None, lambda p: p.ready().set_tensor(1 << 31, X(1))),
    raises("get: 41 bits", TypeError, None, lambda p: p.ready().get_tensor(1 << 40)),
    raises("get: subgraph of 41 bits", TypeError, None, lambda p: p.ready().get_tensor(0, 1 << 40)),
    raises("get: index is None", TypeError, None, lambda p: p.ready().get_tensor(None)),
    raises("get: numpy's double", TypeError, None, lambda p: p.ready().get_tensor(np.float64(0))),
    gives("get: numpy's scalars", [(1, 8, 8, 1)] * 4, lambda p: (
        (i := p.ready()), [i.get_tensor(k).shape for k in (np.uint8(0), np.float32(0), np.array(0), False)])[1]),
    gives("details: text as index", "image", lambda p: p()._get_tensor_details("0", 0)["name"]),
    gives("details: float as index", "image", lambda p: p()._get_tensor_details(0.7, "0")["name"]),
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
    *[gives(f"set: {name}", True, lambda p, value=value: kept(p.ready(), value)) for name, value in {
        "negative strides": B[:, ::-1], "transposed": B.transpose(0, 2, 1, 3),
        "broadcast": np.broadcast_to(np.float32(2), (1, 8, 8, 1)), "memoryview": memoryview(B),
        "unaligned": np.frombuffer(b"x" + B.tobytes(), np.float32, offset=1).reshape(1, 8, 8, 1),
        "list of arrays": [B[0]], "tuple of arrays": tuple(B), "masked": np.ma.masked_array(B, B > 3)}.items()],
    gives("set: __array_interface__", True, lambda p: (
        (i := p.ready()).set_tensor(0, Interface(B)), np.array_equal(i.get_tensor(0), B))[1]),
    gives("set: __array__", True, lambda p: (
        (i := p.ready()).set_tensor(0, Convertible(B)), np.array_equal(i.get_tensor(0), B))[1]),
    *[raises(f"set: {kind}", V, f"Cannot set tensor: Got value of type {name} but expected type FLOAT32 for input 0, name: image ",
             lambda p, kind=kind: p.ready().set_tensor(0, B.astype(kind)))
      for kind, name in {"float16": "FLOAT16", "int32": "INT32", "bool": "BOOL", "complex64": "COMPLEX64", "O": "STRING",
                         "S4": "STRING", "U4": "STRING", "longdouble": "NOTYPE", "M8[s]": "NOTYPE"}.items()],
    raises("set: number", V, "Cannot set tensor: Got value of type FLOAT64 but expected type FLOAT32 for input 0, name: image ",
           lambda p: p.ready().set_tensor(0, 3.0)),
    raises("set: scalar", V, "Cannot set tensor: Dimension mismatch. Got 0 but expected 4 for input 0.",
           lambda p: p.ready().set_tensor(0, np.float32(3))),
    raises("set: array.array", V, "Cannot set tensor: Dimension mismatch. Got 1 but expected 4 for input 0.",
           lambda p: p.ready().set_tensor(0, array.array("f", [1] * 64))),
    raises("set: empty", V, "Cannot set tensor: Dimension mismatch. Got 0 but expected 1 for dimension 0 of input 0.",
           lambda p: p.ready().set_tensor(0, X(0, 8, 8, 1))),
    raises("set: generator", V, "Cannot set tensor: Got value of type STRING but expected type FLOAT32 for input 0, name: image ",
           lambda p: p.ready().set_tensor(0, (x for x in [1.0]))),
    gives("set: output", True, lambda p: (
        (i := p.ready()).set_tensor(out(i), X(1, 4) + 3), np.array_equal(i.get_tensor(out(i)), X(1, 4) + 3))[1]),
    raises("set: output before", V, UNALLOCATED, lambda p: (i := p()).set_tensor(out(i), X(1, 4))),
    # Integers of four bits.
    raises("int4: type", V, "Cannot set tensor: Expected a numpy array of int8 for INT4 input 0, name: t0, but got UINT8",
           lambda p: p.case(NARROW).set_tensor(0, X(3, 3, dtype=np.uint8))),
    raises("int4: size", V, "Cannot set tensor: Numpy array for INT4 input 0, name: t0, has 4 bytes, but expected 9 bytes "
           "for 9 elements", lambda p: p.case(NARROW).set_tensor(0, X(4, dtype=np.int8))),
    raises("int4: 8", V, "Cannot set tensor: Values for INT4 input must be between -8 and 7.",
           lambda p: p.case(NARROW).set_tensor(0, X(3, 3, dtype=np.int8) + 8)),
    raises("int4: -9", V, "Cannot set tensor: Values for INT4 input must be between -8 and 7.",
           lambda p: p.case(NARROW).set_tensor(0, X(3, 3, dtype=np.int8) - 9)),
    raises("int4: before", V, UNALLOCATED + " for input 0, name: t0",
           lambda p: p.case(NARROW, allocate=False).set_tensor(0, X(3, 3, dtype=np.int8))),
    gives("int4", [[-8, -7, -6], [-5, -4, -3], [-2, -1, 7]], lambda p: (
        (i := p.case(NARROW)).set_tensor(0, np.array([-8, -7, -6, -5, -4, -3, -2, -1, 7], np.int8)),
        i.get_tensor(0).tolist())[1]),
    # Strings.
    *[gives(f"strings: {name}", given, lambda p, value=value: through(p.case(STRINGS), value))
      for name, (value, given) in {
          "bytes": (np.array([b"a", b"", b"\xff", b"c\0d", b"e" * 99]), [b"a", b"", b"\xff", b"c\0d", b"e" * 99]),
          "text": (np.array(["a", "", "h\u00e9", "\U0001f600", "b"]),
                   [b"a", b"", b"h\xc3\xa9", b"\xf0\x9f\x98\x80", b"b"]),
          "objects": (np.array([b"a", "b", "", b"\0", np.str_("c")], object), [b"a", b"b", b"", b"\0", b"c"]),
          "strided": (np.array(["a", "b"] * 5)[::2], [b"a"] * 5)}.items()],
    *[raises(f"strings: {name}", V, text, lambda p, value=value: through(p.case(STRINGS), value))
      for name, (value, text) in {
          "numbers": (np.arange(5).astype(object), "PyBytes_AsStringAndSize() failed."),
          "None": (np.full(5, None), "PyBytes_AsStringAndSize() failed."),
          "surrogates": (np.array(["\udc80"] * 5, object), "PyUnicode_AsUTF8AndSize() failed."),
          "list": (["a"] * 5, "Passed in value type is not a numpy array, got type list."),
          "few": (np.array(["a"] * 4), "Cannot set tensor: Dimension mismatch. Got 4 but expected 5 for dimension 0 of "
                  "input 0."),
          "float32": (X(5), "Cannot set tensor: Got value of type FLOAT32 but expected type STRING for input 0, name: t0 "),
          "new text": (np.array(["a"] * 5, np.dtypes.StringDType()) if hasattr(np.dtypes, "StringDType") else X(5, dtype="M8[s]"),
                       "Cannot set tensor: Got value of type NOTYPE but expected type STRING for input 0, name: t0 "),
      }.items()],
    gives("strings: before allocation", [b"a", b"b", b"c", b"d", b"e"], lambda p: (
        (i := p.case(STRINGS, allocate=False)).set_tensor(string_input(i), np.array(list("abcde"))), i.allocate_tensors(),
        i.invoke(), i.get_tensor(out(i)).tolist())[-1]),
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
    raises("resize: None", TypeError, None, lambda p: p().resize_tensor_input(0, None)),
    raises("resize: bytes overflow", R, None, lambda p: p().resize_tensor_input(0, [1 << 30, 1 << 30, 8, 1])),
    raises("resize: constant", R, "Attempting to resize a fixed-size tensor.", lambda p: p().resize_tensor_input(1, [2])),
    gives("resize: constant, same", None, lambda p: p().resize_tensor_input(1, [4, 3, 3, 1])),
    gives("resize: output", [2, 4], lambda p: (
        (i := p()).resize_tensor_input(out(i), [2, 4]), i.get_output_details()[0]["shape"].tolist())[1]),
    gives("resize: strict is None", [2, 8, 8, 1], lambda p: (
        (i := p()).resize_tensor_input(0, [2, 8, 8, 1], None), i.get_input_details()[0]["shape"].tolist())[1]),
    raises("resize: strict is text", TypeError, None, lambda p: p().resize_tensor_input(0, [2, 8, 8, 1], "yes")),
    raises("resize: strict, rank", R, None, lambda p: p().resize_tensor_input(0, [8, 8, 1], strict=True)),
    gives("resize: floats", [2, 8, 8, 1], lambda p: (
        (i := p()).resize_tensor_input(0, [2.5, 8, 8, 1]), i.get_input_details()[0]["shape"].tolist())[1]),
    gives("resize: empty", (0, 8, 8, 1), lambda p: (
        (i := p.ready()).resize_tensor_input(0, [0, 8, 8, 1]), i.get_tensor(0).shape)[1]),
    gives("resize: back", "ready", lambda p: (
        (i := p.ready()).resize_tensor_input(0, [2, 8, 8, 1]), i.resize_tensor_input(0, [1, 8, 8, 1]),
        pytest.raises(R, i.invoke), i.allocate_tensors(), i.invoke(), "ready")[-1]),
    gives("resize: a bad shape, then a good one", "ready", lambda p: (
        (i := p.ready()).resize_tensor_input(0, [1, 8, 8, 3]), pytest.raises(R, i.allocate_tensors),
        pytest.raises(R, i.invoke), i.resize_tensor_input(0, [1, 8, 8, 1]), i.allocate_tensors(), i.invoke(),
        "ready")[-1]),
    gives("invoke after an error", "ready", lambda p: (
        (i := p()), pytest.raises(R, i.invoke), i.allocate_tensors(), i.invoke(), i.invoke(), "ready")[-1]),
    gives("allocate again keeps inputs", True, lambda p: (
        (i := p.ready()).set_tensor(0, B), i.allocate_tensors(), np.array_equal(i.get_tensor(0), B))[-1]),
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
    gives("wrapper: tensors", ["image", np.float32, [1, 8, 8, 1], [-1, 8, 8, 1], (0.0, 0), 4, {}, ""], lambda p: (
        (w := p()._interpreter), [
            w.TensorName(0, 0), w.TensorType(0, 0), w.TensorSize(0, 0).tolist(), w.TensorSizeSignature(0, 0).tolist(),
            w.TensorQuantization(0, 0), len(w.TensorQuantizationParameters(0, 0)), w.TensorSparsityParameters(0, 0),
            w.TensorName(999, 0)])[1]),
    gives("wrapper: calls", [None, None, (1, 8, 8, 1), None, "", None], lambda p: ((w := p()._interpreter), [
        w.SetNumThreads(2), w.AllocateTensors(), w.tensor(w, 0, 0).shape,
        w.ResizeInputTensor(0, np.array([1, 8, 8, 1], np.int32), False), w.NodeName(999), w.Invoke(0)])[1]),
    raises("wrapper: shape", V, "Shape must be type int32 (was 7).", lambda p: p()._interpreter.ResizeInputTensor(
        0, [1, 8, 8, 1], False)),
    raises("wrapper: signature", V, "No matching signature.",
           lambda p: p()._interpreter.GetSubgraphIndexFromSignature("zz")),
    raises("wrapper: allocate", V, "Invalid subgraph index 7 exceeds max subgraph index 1",
           lambda p: p()._interpreter.AllocateTensors(7)),
    gives("zero points: in full", True, lambda p: [0, 0, 0, 0] in zero_points(p(model_content=p.int8_content))),
    gives("zero points: compressed", False, lambda p: any(len(z) > 1 for z in zero_points(
        p(model_content=p.int8_content, experimental_compress_quantization_zero_points=True)))),
    gives("details: one's own", [1, 8, 8, 1], lambda p: (
        (i := p()), (d := i.get_input_details()[0]), d["shape"].fill(9), d.clear(),
        i.get_input_details()[0]["shape"].tolist())[-1]),
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
    gives("runners: several", [12.0, 5.0, 15.0], lambda p: (
        (i := p.case(TWO)), (add := i.get_signature_runner("add")), (scale := i.get_signature_runner("scale")), [
            float(add(a=S, b=S * 1.4)["sum"].max()), len(scale(x=S)) + 3.0, float(add(b=S, a=S * 2)["sum"].max())])[-1]),
    gives("runners: details", [["a", "b"], ["sum"], ["x"], ["scaled", "turned"]], lambda p: (
        (i := p.case(TWO, allocate=False)), [list(d) for k in ("add", "scale") for d in (
            i.get_signature_runner(k).get_input_details(), i.get_signature_runner(k).get_output_details())])[1]),
    gives("runners: resized details", [[5, 3], [5, 3]], lambda p: (
        (r := p.case(TWO).get_signature_runner("add"))(a=X(5, 3), b=X(5, 3)),
        [r.get_input_details()["a"]["shape"].tolist(), r.get_output_details()["sum"]["shape"].tolist()])[1]),
    raises("runners: which", V, "SignatureDef signature_key is None and model has 2 Signatures. None is only allowed when "
           "the model has 1 SignatureDef", lambda p: p.case(TWO).get_signature_runner()),
    raises("runners: none", V, "SignatureDef signature_key is None and model has 0 Signatures. None is only allowed when "
           "the model has 1 SignatureDef", lambda p: p.case(STRINGS).get_signature_runner()),
    raises("runners: empty key", V, "None signature_key provided.", lambda p: p.case(TWO).get_signature_runner("")),
    raises("runners: by position", TypeError, None, lambda p: p().get_signature_runner()(B)),
    raises("runners: many", V, "Invalid number of inputs provided for running a SignatureDef, expected 1 vs provided 2",
           lambda p: p().get_signature_runner()(image=B, other=B)),
    raises("runners: of a number", AttributeError, "'int' object has no attribute '_interpreter'",
           lambda p: p.api.SignatureRunner(5, "serving_default")),
    gives("runners: interpreter gone", (1, 4), lambda p: p().get_signature_runner()(image=B)["output"].shape),
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
    # LiteRT takes bytes only.
    gives("memoryview", 1, lambda p: p(model_content=memoryview(p.content)).num_subgraphs()),
    # LiteRT reads beyond the tensor.
    raises("int4: view", V, None, lambda p: p.case(NARROW).tensor(0)()),
    # LiteRT crashes.
    raises("strings: never set", V, NULL, lambda p: (i := p.case(STRINGS)).get_tensor(string_input(i))),
    raises("strings: view", V, None, lambda p: (i := p.case(STRINGS)).tensor(string_input(i))()),
    gives("cause", True, lambda p: (
        (e := pytest.raises(V, p, model_content=b"garbage")), e.value.__cause__ is not None)[-1]),
]


@pytest.mark.parametrize("row", OURS, ids=lambda row: row.name)
def test_better_than_the_peer(row, network, int8_network, network_file):
    check(row, Package(importlib.import_module("ferrolite"), network, int8_network, network_file))
