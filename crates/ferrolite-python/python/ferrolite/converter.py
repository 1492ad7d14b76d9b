"""``tf.lite``'s converter interface over ferrolite's quantizer."""

from __future__ import annotations

import enum
import json
import os
import sys
from typing import Any, Callable, Iterable

import numpy as np

from . import _ferrolite
from .interpreter import Interpreter, _open

__all__ = ["Optimize", "OpsSet", "RepresentativeDataset", "TFLiteConverter", "TargetSpec"]

_NOT_YET = (
    "{} is not yet possible: ferrolite's converter from TensorFlow has not landed. Until then export a float .tflite "
    "with TensorFlow and use TFLiteConverter.from_tflite; see docs/python.md, section 'Not yet'"
)


@enum.unique
class Optimize(enum.Enum):
    """What a conversion optimizes for."""

    #: Smaller and faster: quantize, as far as the other settings say.
    DEFAULT = "DEFAULT"
    #: Deprecated. Does the same as DEFAULT.
    OPTIMIZE_FOR_SIZE = "OPTIMIZE_FOR_SIZE"
    #: Deprecated. Does the same as DEFAULT.
    OPTIMIZE_FOR_LATENCY = "OPTIMIZE_FOR_LATENCY"
    #: Accepted for compatibility; changes nothing.
    EXPERIMENTAL_SPARSITY = "EXPERIMENTAL_SPARSITY"

    def __str__(self) -> str:
        return str(self.value)


@enum.unique
class OpsSet(enum.Enum):
    """Operators that a converted model may use."""

    TFLITE_BUILTINS = "TFLITE_BUILTINS"
    SELECT_TF_OPS = "SELECT_TF_OPS"
    #: Integer operators only: whatever cannot be quantized is an error.
    TFLITE_BUILTINS_INT8 = "TFLITE_BUILTINS_INT8"
    #: int16 activations and int8 weights.
    EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8 = (
        "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
    )
    EXPERIMENTAL_STABLEHLO_OPS = "EXPERIMENTAL_STABLEHLO_OPS"

    def __str__(self) -> str:
        return str(self.value)

    @staticmethod
    def get_options() -> list[str]:
        """The names of all sets."""
        return [str(option) for option in OpsSet]


class RepresentativeDataset:
    """Representative inputs for calibration."""

    def __init__(self, input_gen: Callable[[], Iterable[Any]]):
        """Takes a generator function.

        Args:
          input_gen: Yields samples: lists of arrays in the order of the inputs, dictionaries of arrays by the inputs'
            names, or pairs of a signature's key and such a dictionary.
        """
        self.input_gen = input_gen


class TargetSpec:
    """What a converted model has to run on."""

    def __init__(
        self,
        supported_ops: Iterable[OpsSet] | None = None,
        supported_types: Iterable[Any] | None = None,
        experimental_select_user_tf_ops: Iterable[Any] | None = None,
        experimental_supported_backends: Iterable[Any] | None = None,
    ):
        self.supported_ops = {OpsSet.TFLITE_BUILTINS} if supported_ops is None else supported_ops
        self.supported_types = set() if supported_types is None else supported_types
        self.experimental_select_user_tf_ops = experimental_select_user_tf_ops or set()
        self.experimental_supported_backends = experimental_supported_backends
        self._experimental_custom_op_registerers: list[Any] = []
        self._experimental_supported_accumulation_type = None


class TFLiteConverter:
    """Quantizes float models.

    ::

        converter = TFLiteConverter.from_tflite("float.tflite")
        converter.optimizations = [Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image] for image in images)
        quantized = converter.convert()

    Attributes:
      optimizations: With any, the model is quantized: to int8 with a ``representative_dataset``, else weights only.
      representative_dataset: Generator function or `RepresentativeDataset`.
      target_spec: `TargetSpec`: integers only by ``supported_ops = [OpsSet.TFLITE_BUILTINS_INT8]``, float16 constants by
        ``supported_types = [np.float16]``.
      inference_input_type: Type of the model's float inputs afterwards: float32, or int8, uint8, int16.
      inference_output_type: The same of its outputs.
      calibration_method: How ranges come from the samples: "min-max" as in TensorFlow, "moving-average", "percentile",
        "percentile=99.9", "entropy" or "mse"; see docs/quantization.md.
      weight_bits: Bits of weights: 8, or 4 where operators have kernels for it.
      recipe: Rules for mixed precision, as a list of dictionaries: exceptions from what the settings above say, such as
        ``{"tensors": "^logits$", "scheme": "float"}``; see docs/quantization.md.
      progress: Show the progress of calibration on stderr.
    """

    optimizations: Iterable[Optimize]
    representative_dataset: RepresentativeDataset | Callable[[], Iterable[Any]] | None
    target_spec: TargetSpec
    inference_input_type: Any
    inference_output_type: Any
    allow_custom_ops: bool
    exclude_conversion_metadata: bool
    experimental_new_converter: bool
    experimental_new_quantizer: bool
    experimental_enable_resource_variables: bool
    serialize_debug_metadata: bool
    calibration_method: str
    weight_bits: int
    recipe: list[dict[str, Any]]
    progress: bool
    _experimental_disable_per_channel: bool
    _interpreter: Interpreter

    # Settings of `tf.lite` for what ferrolite does not do: there, with its defaults, and without effect.
    experimental_lower_to_saved_model = True
    experimental_new_dynamic_range_quantizer = True
    experimental_use_stablehlo_quantizer = False
    experimental_stablehlo_quantizer_config = None
    unfold_batchmatmul = False
    legalize_custom_tensor_list_ops = False
    saved_model_dir = None
    model_origin_framework = "UNSET"
    canonicalizing_inf_as_min_max_float = True
    ir_dump_dir = None
    ir_dump_pass_regex = None
    ir_dump_func_regex = None
    enable_timing = None
    print_ir_before = None
    print_ir_after = None
    print_ir_module_scope = None
    elide_elementsattrs_if_larger = None

    def __init__(self, funcs: Any, trackable_obj: Any = None):
        raise NotImplementedError(_NOT_YET.format("Converting TensorFlow functions"))

    @classmethod
    def from_tflite(cls, model: str | os.PathLike[str] | bytes) -> TFLiteConverter:
        """Starts from a float ``.tflite`` file, its bytes, or a model of `ferrolite.train`."""
        converter = cls.__new__(cls)
        converter.optimizations = set()
        converter.representative_dataset = None
        converter.target_spec = TargetSpec()
        converter.inference_input_type = np.float32
        converter.inference_output_type = np.float32
        converter.allow_custom_ops = False
        converter.exclude_conversion_metadata = False
        converter.experimental_new_converter = True
        converter.experimental_new_quantizer = True
        converter.experimental_enable_resource_variables = True
        converter.serialize_debug_metadata = False
        converter._experimental_disable_per_channel = False
        converter.calibration_method = "min-max"
        converter.weight_bits = 8
        converter.recipe = []
        converter.progress = False
        if hasattr(model, "export"):
            model = model.export()
        converter._interpreter = _open(model)
        return converter

    @classmethod
    def from_keras_model(cls, model: Any) -> TFLiteConverter:
        """Not yet."""
        raise NotImplementedError(_NOT_YET.format("Converting Keras models"))

    @classmethod
    def from_saved_model(cls, saved_model_dir: Any, signature_keys: Any = None, tags: Any = None) -> TFLiteConverter:
        """Not yet."""
        raise NotImplementedError(_NOT_YET.format("Converting SavedModels"))

    @classmethod
    def from_concrete_functions(cls, funcs: Any, trackable_obj: Any = None) -> TFLiteConverter:
        """Not yet."""
        raise NotImplementedError(_NOT_YET.format("Converting concrete functions"))

    @classmethod
    def experimental_from_jax(cls, serving_funcs: Any, inputs: Any) -> TFLiteConverter:
        """Not yet."""
        raise NotImplementedError(_NOT_YET.format("Converting JAX functions"))

    def convert(self) -> bytes:
        """Converts the model.

        Returns:
          The bytes of a ``.tflite`` file.

        Raises:
          ValueError: Settings contradict each other, or the model cannot be quantized as asked.
        """
        mode = self._mode()
        self._check_io_types(mode)
        wrapper = self._interpreter._interpreter
        if mode is None:
            if not self.recipe:
                return wrapper.model_content()
            mode = "float"
        calibrator = inputs = outputs = None
        schemes = {rule.get("scheme") for rule in self.recipe}
        if mode in ("int8", "int8-only", "int16x8") or schemes & {"int8", "int16x8"}:
            if self.representative_dataset is None:
                raise ValueError("For rules with integer activations, a `representative_dataset` must be specified.")
            calibrator = self._calibrate(wrapper)
            inputs, outputs = _dtype(self.inference_input_type), _dtype(self.inference_output_type)
        per_channel, recipe = not self._experimental_disable_per_channel, json.dumps(self.recipe)
        bits = self.weight_bits
        return _ferrolite.quantize(wrapper, mode, inputs, outputs, per_channel, bits, recipe, calibrator)

    def _mode(self) -> str | None:
        ops = {_member(OpsSet, option) for option in self.target_spec.supported_ops}
        types = {_dtype(t) for t in self.target_spec.supported_types}
        int8_only = ops == {OpsSet.TFLITE_BUILTINS_INT8}
        if OpsSet.TFLITE_BUILTINS_INT8 in ops and types - {np.dtype(np.int8)}:
            raise ValueError(
                "As full integer quantization has been enabled by setting `target_spec.supported_ops`="
                "{tf.lite.OpsSet.TFLITE_BUILTINS_INT8}, thus `target_spec.supported_types` should be left uninitizalized "
                "or set to {tf.int8}."
            )
        int8_only |= types == {np.dtype(np.int8)}
        if not {_member(Optimize, option) for option in self.optimizations} - {Optimize.EXPERIMENTAL_SPARSITY}:
            return None
        if int8_only and self.representative_dataset is None:
            raise ValueError("For full integer quantization, a `representative_dataset` must be specified.")
        if np.dtype(np.float16) in types:
            return "float16"
        if self.representative_dataset is None:
            return "dynamic range"
        if OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8 in ops:
            return "int16x8"
        return "int8-only" if int8_only else "int8"

    def _check_io_types(self, mode: str | None) -> None:
        allowed = {"int8": "int8 uint8 int16", "int8-only": "int8 uint8 int16", "int16x8": "int16"}.get(mode or "", "")
        names = ["float32", *allowed.split()]
        if all(_dtype(t).name in names for t in (self.inference_input_type, self.inference_output_type)):
            return
        if mode is None or not allowed:
            raise ValueError("The inference_input_type and inference_output_type must be tf.float32.")
        listed = ["tf." + name for name in names]
        raise ValueError(f"The inference_input_type and inference_output_type must be in {listed}.")

    def _calibrate(self, wrapper: _ferrolite.InterpreterWrapper) -> _ferrolite.Calibrator:
        dataset: Any = self.representative_dataset
        # TensorFlow's own class is as good.
        generator = getattr(dataset, "input_gen", dataset)
        samples = generator() if callable(generator) else generator
        details = self._interpreter.get_input_details()
        definitions = self._interpreter._get_full_signature_list()
        calibrator = _ferrolite.Calibrator(wrapper, os.cpu_count() or 1, self.calibration_method)
        for sample in self._with_progress(samples):
            calibrator.feed(_in_order(sample, details, definitions))
        return calibrator

    def _with_progress(self, samples: Iterable[Any]) -> Iterable[Any]:
        if not self.progress:
            return samples
        try:
            from tqdm import tqdm  # type: ignore[import-untyped]
        except ImportError:
            return _count(samples)
        shown: Iterable[Any] = tqdm(samples, desc="calibrating", unit="sample")
        return shown


def _count(samples: Iterable[Any]) -> Iterable[Any]:
    for i, sample in enumerate(samples, 1):
        yield sample
        print(f"\rcalibrating: {i} samples", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def _member(kind: type[enum.Enum], given: Any) -> enum.Enum:
    """A member of an enumeration, given itself, by its name, or as TensorFlow's member of the same name."""
    name = getattr(given, "name", given)
    if isinstance(name, str) and name in kind.__members__:
        return kind[name]
    raise ValueError(f"{given!r} is no {kind.__name__}: {', '.join(kind.__members__)}")


def _dtype(given: Any) -> np.dtype[Any]:
    """The dtype of a NumPy type, its name, or a ``tf.DType``."""
    found: np.dtype[Any] = np.dtype(getattr(given, "as_numpy_dtype", given))
    return found


def _in_order(sample: Any, details: list[dict[str, Any]], definitions: dict[str, Any]) -> list[np.ndarray]:
    """The arrays of a sample in the order of the inputs, in their types."""
    names: dict[str, int] = {d["name"]: d["index"] for d in details}
    for definition in definitions.values():
        names.update(definition["inputs"])
    if isinstance(sample, tuple) and len(sample) == 2 and isinstance(sample[1], dict):
        key, sample = sample
        if key is not None and key not in definitions:
            valid = ",".join(definitions)
            raise ValueError(f"Invalid signature key '{key}' found. Valid keys are '{valid}'.")
    if isinstance(sample, dict):
        unknown = [name for name in sample if name not in names]
        if unknown:
            raise ValueError(f"there are no inputs {unknown}; the model has {list(names)}")
        by_index = {names[name]: value for name, value in sample.items()}
        missing = [d["name"] for d in details if d["index"] not in by_index]
        if missing:
            raise ValueError(f"the sample lacks inputs {missing}")
        values = [by_index[d["index"]] for d in details]
    else:
        values = list(sample) if isinstance(sample, (list, tuple)) else [sample]
    return [np.asarray(v).astype(d["dtype"], copy=False) for v, d in zip(values, details)] + values[len(details) :]
