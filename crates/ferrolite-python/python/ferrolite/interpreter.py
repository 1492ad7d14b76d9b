"""The interpreter, with the interface of ``tf.lite.Interpreter`` and ``ai_edge_litert.interpreter``."""

from __future__ import annotations

import ctypes
import enum
import os
import warnings
from typing import Any, Callable, Iterable

import numpy as np

from . import _ferrolite

__all__ = [
    "Delegate",
    "Interpreter",
    "InterpreterWithCustomOps",
    "OpResolverType",
    "SignatureRunner",
    "load_delegate",
]


@enum.unique
class OpResolverType(enum.Enum):
    """Which kernels run a model."""

    #: The fast kernels.
    AUTO = 0
    #: The fast kernels.
    BUILTIN = 1
    #: The reference kernels: slow, the specification of every result.
    BUILTIN_REF = 2
    #: The fast kernels; ferrolite has no default delegates.
    BUILTIN_WITHOUT_DEFAULT_DELEGATES = 3


class Delegate:
    """An external delegate. ferrolite cannot host any yet: see `load_delegate`."""

    def __init__(self, library: str, options: dict[str, Any] | None = None):
        # A library that is not there is an OSError, as programs expect that fall back to the CPU then.
        ctypes.pydll.LoadLibrary(library)
        raise ValueError("ferrolite runs no external delegates yet; leave the delegate out to run on the CPU")

    def _get_native_delegate_pointer(self) -> int:
        raise ValueError("ferrolite runs no external delegates yet")


def load_delegate(library: str, options: dict[str, Any] | None = None) -> Delegate:
    """Loads an external delegate from a shared library.

    Args:
      library: Name of the shared library.
      options: Options for the delegate.

    Raises:
      OSError: The library cannot be loaded.
      ValueError: Otherwise: ferrolite runs no external delegates yet.
    """
    try:
        return Delegate(library, options)
    except ValueError as error:
        raise ValueError(f"Failed to load delegate from {library}\n{error}") from None


class SignatureRunner:
    """Runs one signature of a model, with inputs and outputs by name.

    Made by `Interpreter.get_signature_runner`. Holding one does not keep the interpreter from anything.
    """

    def __init__(self, interpreter: Interpreter | None = None, signature_key: str | None = None):
        if not interpreter:
            raise ValueError("None interpreter provided.")
        if not signature_key:
            raise ValueError("None signature_key provided.")
        self._interpreter = interpreter
        self._interpreter_wrapper = interpreter._interpreter
        self._signature_key = signature_key
        definitions = interpreter._get_full_signature_list()
        if signature_key not in definitions:
            raise ValueError(f'Invalid signature_key provided: "{signature_key}".')
        self._signature_def = definitions[signature_key]
        self._inputs = self._signature_def["inputs"]
        self._outputs = self._signature_def["outputs"].items()
        self._subgraph_index = self._interpreter_wrapper.GetSubgraphIndexFromSignature(signature_key)

    def __call__(self, **kwargs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the signature on one array per input; inputs are resized to the arrays' shapes.

        Returns:
          The outputs by name, as copies.
        """
        wrapper, subgraph = self._interpreter_wrapper, self._subgraph_index
        if len(kwargs) != len(self._inputs):
            raise ValueError(
                "Invalid number of inputs provided for running a SignatureDef, "
                f"expected {len(self._inputs)} vs provided {len(kwargs)}"
            )
        for name, value in kwargs.items():
            if name not in self._inputs:
                raise ValueError(f"Invalid Input name ({name}) for SignatureDef")
            wrapper.ResizeInputTensor(self._inputs[name], np.array(value.shape, dtype=np.int32), False, subgraph)
        wrapper.AllocateTensors(subgraph)
        for name, value in kwargs.items():
            wrapper.SetTensor(self._inputs[name], value, subgraph)
        wrapper.Invoke(subgraph)
        return {name: wrapper.GetTensor(index, subgraph) for name, index in self._outputs}

    def get_input_details(self) -> dict[str, dict[str, Any]]:
        """Details of the inputs by name, each as in `Interpreter.get_input_details`."""
        return {name: self._details(index) for name, index in self._inputs.items()}

    def get_output_details(self) -> dict[str, dict[str, Any]]:
        """Details of the outputs by name, each as in `Interpreter.get_input_details`."""
        return {name: self._details(index) for name, index in self._outputs}

    def _details(self, index: int) -> dict[str, Any]:
        return self._interpreter_wrapper.TensorDetails(index, self._subgraph_index)


class Interpreter:
    """Runs a ``.tflite`` model.

    ::

        interpreter = Interpreter(model_path="model.tflite")
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        y = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    `invoke` releases the interpreter lock, and an interpreter may be used from several threads, one after the other.
    It can be pickled (its model goes along, its tensors do not), and used in a ``with`` statement.
    """

    _interpreter: _ferrolite.InterpreterWrapper

    def __init__(
        self,
        model_path: str | bytes | os.PathLike[str] | os.PathLike[bytes] | None = None,
        model_content: bytes | bytearray | memoryview | None = None,
        experimental_delegates: list[Delegate] | None = None,
        num_threads: int | None = None,
        experimental_op_resolver_type: OpResolverType = OpResolverType.AUTO,
        experimental_preserve_all_tensors: bool = False,
        experimental_disable_delegate_clustering: bool = False,
        experimental_default_delegate_latest_features: bool = False,
        experimental_compress_quantization_zero_points: bool = False,
        experimental_disable_delegate_node_fusion: bool = False,
        experimental_force_delegate_node_profiling: bool = False,
    ):
        """Reads a model. Memory is taken by `allocate_tensors`.

        Args:
          model_path: The file.
          model_content: Its bytes, instead.
          experimental_delegates: Delegates from `load_delegate`.
          num_threads: Threads that share the work; 1 if not given.
          experimental_op_resolver_type: Which kernels run the model.
          experimental_preserve_all_tensors: Keep intermediate tensors readable after `invoke`; takes more memory.
          experimental_disable_delegate_clustering: Accepted for compatibility; nodes run in the model's order.
          experimental_default_delegate_latest_features: Accepted for compatibility.
          experimental_compress_quantization_zero_points: List a tensor's zero point once where all are the same.
          experimental_disable_delegate_node_fusion: Accepted for compatibility.
          experimental_force_delegate_node_profiling: Accepted for compatibility.

        Raises:
          ValueError: The model cannot be read, or an argument is wrong.
        """
        if not hasattr(self, "_custom_op_registerers"):
            self._custom_op_registerers: list[Any] = []
        self._experimental_compress_quantization_zero_points = experimental_compress_quantization_zero_points
        if experimental_preserve_all_tensors and experimental_op_resolver_type in (
            OpResolverType.AUTO,
            OpResolverType.BUILTIN,
        ):
            warnings.warn(
                "Warning: Enabling `experimental_preserve_all_tensors` with the BUILTIN or AUTO op resolver is"
                " intended for debugging purposes only. Be aware that this can significantly increase memory usage by"
                " storing all intermediate tensors. If you encounter memory problems or are not actively debugging,"
                " consider disabling this option.",
                stacklevel=2,
            )
        if {experimental_op_resolver_type} - set(OpResolverType):
            raise ValueError(f"Unrecognized passed in op resolver type: {experimental_op_resolver_type}")
        if num_threads is not None:
            if not isinstance(num_threads, int):
                raise ValueError("type of num_threads should be int")
            if num_threads < 1:
                raise ValueError("num_threads should >= 1")
        if not model_path and not model_content:
            raise ValueError("`model_path` or `model_content` must be specified.")
        if model_path and model_content:
            raise ValueError("Can't both provide `model_path` and `model_content`")
        if model_content and not isinstance(model_content, (bytes, bytearray, memoryview)):
            raise TypeError(f"model_content has to be bytes, not {type(model_content).__name__}")
        for flag in (
            experimental_disable_delegate_clustering,
            experimental_default_delegate_latest_features,
            experimental_disable_delegate_node_fusion,
            experimental_force_delegate_node_profiling,
        ):
            if flag is not None and not hasattr(flag, "__bool__"):
                raise TypeError(f"a flag is True or False, not {type(flag).__name__}")
        if self._custom_op_registerers:
            raise ValueError("ferrolite cannot call registerers of custom ops written for TensorFlow Lite")
        self._arguments = {
            "num_threads": num_threads,
            "experimental_op_resolver_type": experimental_op_resolver_type,
            "experimental_preserve_all_tensors": experimental_preserve_all_tensors,
            "experimental_compress_quantization_zero_points": experimental_compress_quantization_zero_points,
        }
        self._interpreter = _ferrolite.InterpreterWrapper(
            os.fsdecode(model_path) if model_path else None,
            bytes(model_content) if model_content else None,
            experimental_op_resolver_type is OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors,
            int(num_threads or 1),
            experimental_compress_quantization_zero_points,
        )
        self._delegates = list(experimental_delegates or [])
        for delegate in self._delegates:
            delegate._get_native_delegate_pointer()
            raise ValueError("ferrolite runs no external delegates yet")
        self._signature_defs = self.get_signature_list()

    def __enter__(self) -> Interpreter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the memory back; the interpreter cannot be used afterwards. Views from `tensor` stay valid."""
        self._interpreter = None  # type: ignore[assignment]
        self._delegates = []

    def __repr__(self) -> str:
        if self._interpreter is None:
            return "<ferrolite.Interpreter: closed>"
        names = [[d["name"] for d in details] for details in (self.get_input_details(), self.get_output_details())]
        return f"<ferrolite.Interpreter: {', '.join(names[0])} -> {', '.join(names[1])}>"

    def __getstate__(self) -> dict[str, Any]:
        others = {k: v for k, v in self.__dict__.items() if k not in ("_interpreter", "_delegates", "_signature_defs")}
        return {**others, "_model_bytes": self._model_content}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        content = state.pop("_model_bytes")
        with warnings.catch_warnings():
            # Whoever pickled it was warned.
            warnings.simplefilter("ignore")
            Interpreter.__init__(self, model_content=content, **state["_arguments"])
        self.__dict__.update(state)

    def allocate_tensors(self) -> None:
        """Plans the model for the present shapes of its inputs and takes memory.

        To be called before `set_tensor` and `invoke`, and again after `resize_tensor_input`.

        Raises:
          RuntimeError: A node of the model cannot be prepared, or a view from `tensor` is alive.
        """
        return self._interpreter.AllocateTensors()

    def invoke(self) -> None:
        """Runs the model on what its inputs hold. Releases the interpreter lock.

        Raises:
          RuntimeError: Tensors are not allocated, a node failed, or a view from `tensor` is alive.
        """
        self._interpreter.Invoke()

    def set_tensor(self, tensor_index: int, value: Any) -> None:
        """Copies an array into a tensor.

        Args:
          tensor_index: ``index`` in `get_input_details`.
          value: Array of exactly the tensor's dtype and shape. int4 and int2 take int8 arrays, uint4 takes uint8; string
            tensors take arrays of ``bytes`` or ``str``.

        Raises:
          ValueError: It does not fit, or there is no memory yet.
        """
        self._interpreter.SetTensor(tensor_index, value)

    def get_tensor(self, tensor_index: int, subgraph_index: int = 0) -> np.ndarray:
        """Copies a tensor into an array.

        Args:
          tensor_index: ``index`` in `get_output_details`. Intermediate tensors are meaningful only with
            ``experimental_preserve_all_tensors``.
          subgraph_index: The subgraph that it is in.

        Returns:
          An array of the tensor's shape; a NumPy scalar for a tensor without dimensions.
        """
        return self._interpreter.GetTensor(tensor_index, subgraph_index)

    def tensor(self, tensor_index: int) -> Callable[[], np.ndarray]:
        """Returns a function that gives a view of a tensor's memory, without a copy.

        Keep the function, not the view: while a view is alive, `invoke`, `allocate_tensors` and `resize_tensor_input`
        raise. A view keeps its memory alive, even after the interpreter is gone.
        """
        wrapper = self._interpreter
        return lambda: wrapper.tensor(wrapper, tensor_index)

    def resize_tensor_input(self, input_index: int, tensor_size: Any, strict: bool = False) -> None:
        """Changes the shape of an input; `allocate_tensors` has to follow.

        Args:
          input_index: ``index`` in `get_input_details`.
          tensor_size: The new shape.
          strict: Allow to change only dimensions that are -1 in ``shape_signature``.
        """
        self._ensure_safe()
        self._interpreter.ResizeInputTensor(input_index, np.array(tensor_size, dtype=np.int32), strict)

    def get_input_details(self) -> list[dict[str, Any]]:
        """Details of the inputs.

        Returns:
          For each a dictionary: ``name``, ``index``, ``shape`` (int32 array), ``shape_signature`` (-1 where a dimension
          is open), ``dtype`` (NumPy class), ``quantization`` (scale and zero point, (0.0, 0) without or with several),
          ``quantization_parameters`` (``scales``, ``zero_points``, ``quantized_dimension``, ``block_size``) and
          ``sparsity_parameters`` (empty for dense tensors).
        """
        return [self._get_tensor_details(i, subgraph_index=0) for i in self._interpreter.InputIndices()]

    def get_output_details(self) -> list[dict[str, Any]]:
        """Details of the outputs, as in `get_input_details`."""
        return [self._get_tensor_details(i, subgraph_index=0) for i in self._interpreter.OutputIndices()]

    def get_tensor_details(self, subgraph_index: int = 0) -> list[dict[str, Any]]:
        """Details of all tensors of a subgraph, as in `get_input_details`."""
        count = self._interpreter.NumSubgraphs()
        if subgraph_index < 0 or subgraph_index >= count:
            raise ValueError(
                f"subgraph_index is out of range: {subgraph_index} for the model, which has {count} subgraphs."
            )
        tensors = range(self._interpreter.NumTensors(subgraph_index))
        return [self._get_tensor_details(i, subgraph_index) for i in tensors]

    def num_subgraphs(self) -> int:
        """Number of subgraphs."""
        return self._interpreter.NumSubgraphs()

    def get_signature_list(self) -> dict[str, dict[str, list[str]]]:
        """Names of the inputs and outputs of every signature, by its key."""
        return {
            key: {"inputs": list(definition["inputs"]), "outputs": list(definition["outputs"])}
            for key, definition in self._interpreter.GetSignatureDefs().items()
        }

    def get_signature_runner(self, signature_key: str | None = None) -> SignatureRunner:
        """Returns a callable that runs a signature.

        Args:
          signature_key: May be left out if the model has a single signature.

        Raises:
          ValueError: There is no such signature.
        """
        if signature_key is None:
            if len(self._signature_defs) != 1:
                raise ValueError(
                    f"SignatureDef signature_key is None and model has {len(self._signature_defs)} Signatures. "
                    "None is only allowed when the model has 1 SignatureDef"
                )
            signature_key = next(iter(self._signature_defs))
        return SignatureRunner(interpreter=self, signature_key=signature_key)

    def reset_all_variables(self) -> None:
        """Sets all variables of the model back to zero."""
        return self._interpreter.ResetVariableTensors()

    @property
    def experimental_compress_quantization_zero_points(self) -> bool:
        """What the constructor was given."""
        return self._experimental_compress_quantization_zero_points

    @property
    def _model_content(self) -> bytes:
        return self._interpreter.model_content()

    def _safe_to_run(self) -> bool:
        return self._interpreter.live_views() == 0

    def _ensure_safe(self) -> None:
        if not self._safe_to_run():
            raise RuntimeError(
                "There is at least 1 reference to internal data\n"
                "      in the interpreter in the form of a numpy array or slice. Be sure to\n"
                "      only hold the function returned from tensor() if you are using raw\n"
                "      data access."
            )

    def _get_tensor_details(self, tensor_index: int, subgraph_index: int) -> dict[str, Any]:
        return self._interpreter.TensorDetails(int(tensor_index), int(subgraph_index))

    def _get_op_details(self, op_index: int) -> dict[str, Any]:
        inputs, outputs = self._interpreter.NodeInputs(op_index), self._interpreter.NodeOutputs(op_index)

        def types(indices: Iterable[int]) -> list[type]:
            return [self._get_tensor_details(i, subgraph_index=0)["dtype"] for i in indices if i != -1]

        return {
            "index": int(op_index),
            "op_name": self._interpreter.NodeName(op_index),
            "inputs": inputs,
            "outputs": outputs,
            "operand_types": types(inputs),
            "result_types": types(outputs),
        }

    def _get_ops_details(self) -> list[dict[str, Any]]:
        return [self._get_op_details(i) for i in range(self._interpreter.NumNodes())]

    def _get_full_signature_list(self) -> dict[str, dict[str, dict[str, int]]]:
        return self._interpreter.GetSignatureDefs()

    def _native_handle(self) -> int:
        return self._interpreter.interpreter()


def _open(model: str | os.PathLike[str] | bytes, num_threads: int | None = None) -> Interpreter:
    """An interpreter of a file, given by its path or its bytes."""
    if isinstance(model, (bytes, bytearray, memoryview)):
        return Interpreter(model_content=bytes(model), num_threads=num_threads)
    return Interpreter(model_path=model, num_threads=num_threads)


class InterpreterWithCustomOps(Interpreter):
    """`Interpreter` with registerers of custom ops, which ferrolite cannot call: any is a ``ValueError``."""

    def __init__(self, custom_op_registerers: list[Any] | None = None, **kwargs: Any):
        self._custom_op_registerers = custom_op_registerers or []
        super().__init__(**kwargs)
