"""TensorFlow Lite in Rust: run, quantize and train small networks.

``import ferrolite as tflite`` stands in for ``tf.lite``: `Interpreter`, `TFLiteConverter` and what belongs to them have
the names, defaults, exceptions and messages of TensorFlow's. `Model` is the shorter way to run a model, `ferrolite.train`
trains one, and `ferrolite.compat` runs programs that were written for another package.
"""

from typing import TYPE_CHECKING, Any

from . import experimental
from ._ferrolite import __version__
from .converter import Optimize, OpsSet, RepresentativeDataset, TargetSpec, TFLiteConverter
from .interpreter import (
    Delegate,
    Interpreter,
    InterpreterWithCustomOps,
    OpResolverType,
    SignatureRunner,
    load_delegate,
)
from .model import Model

if TYPE_CHECKING:
    from . import compat, train

__all__ = [
    "Delegate",
    "Interpreter",
    "InterpreterWithCustomOps",
    "Model",
    "OpResolverType",
    "Optimize",
    "OpsSet",
    "RepresentativeDataset",
    "SignatureRunner",
    "TFLiteConverter",
    "TargetSpec",
    "__version__",
    "compat",
    "experimental",
    "load_delegate",
    "train",
]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: most programs only run models.
    if name in ("train", "compat"):
        import importlib

        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
