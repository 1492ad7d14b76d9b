"""Runs programs that were written for TensorFlow Lite's other packages, unmodified.

    python -m ferrolite.compat script.py --its --arguments
    python -m ferrolite.compat -m module --its --arguments

In a process: ``ferrolite.compat.install()``, before the program's imports. From then on

- ``tflite_runtime.interpreter`` and ``ai_edge_litert.interpreter`` are ferrolite's, whether these packages are installed
  or not; the other modules of an installed one stay;
- ``tensorflow.lite`` is ferrolite's when TensorFlow is not installed (with the dtypes, and nothing else of TensorFlow).
  A module that imports ``tensorflow`` and never mentions its ``lite`` looks for TensorFlow itself, and gets the truth: an
  ImportError;
- of an installed TensorFlow, ``tf.lite.Interpreter`` and what belongs to it are replaced, wherever programs find them, and
  all else stays: TensorFlow's own tools go on with its own interpreter.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import linecache
import os
import re
import runpy
import sys
import types
from typing import Any, Iterable, NoReturn, Sequence

import numpy as np

import ferrolite

from . import converter, experimental, interpreter

__all__ = ["install", "main", "uninstall"]

_DTYPES = "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 complex64 complex128".split()
_EMPTY = {"__version__": ferrolite.__version__}
_INTERPRETER = {name: getattr(interpreter, name) for name in interpreter.__all__}
_LITE = {
    **{name: getattr(converter, name) for name in converter.__all__},
    "Interpreter": interpreter.Interpreter,
    "experimental": experimental,
}
_RUNTIME = {
    "tflite_runtime": _EMPTY,
    "tflite_runtime.interpreter": _INTERPRETER,
    "ai_edge_litert": _EMPTY,
    "ai_edge_litert.interpreter": _INTERPRETER,
}
_TENSORFLOW = {
    "tensorflow": {**_EMPTY, **{name: getattr(np, name) for name in _DTYPES}, "bool": np.bool_, "string": np.bytes_},
    "tensorflow.lite": _LITE,
    "tensorflow.lite.python": {},
    "tensorflow.lite.python.interpreter": _INTERPRETER,
    "tensorflow.lite.python.lite": _LITE,
    "tensorflow.lite.experimental": vars(experimental),
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers the imports of some modules."""

    def __init__(self, modules: dict[str, dict[str, Any]]):
        self.modules = modules

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name == "tensorflow" and name in self.modules and not _wants_lite(sys._getframe(1)):
            return None
        if name in self.modules:
            is_package = any(other.startswith(name + ".") for other in self.modules)
            return importlib.machinery.ModuleSpec(name, self, origin="ferrolite.compat", is_package=is_package)
        if name == "tensorflow" and name not in self.modules:
            return self._patched(name, path)
        return None

    @staticmethod
    def _patched(name: str, path: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
        """An installed TensorFlow, whose interpreter is replaced once it is loaded."""
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            original = spec.loader.exec_module

            def exec_module(module: types.ModuleType) -> None:
                original(module)
                _replace()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        name = module.__name__
        vars(module).update({k: v for k, v in self.modules[name].items() if not k.startswith("__") or k in _EMPTY})
        if name == "tensorflow":
            vars(module)["__getattr__"] = _not_there
        for other in self.modules:
            # `import tensorflow` alone gives `tensorflow.lite`.
            if other.rpartition(".")[0] == name and name.startswith("tensorflow"):
                importlib.import_module(other)


#: What `_replace` has put aside: modules by name, and values by module and name.
_aside: list[tuple[dict[str, Any], str, object]] = []


def _replace() -> None:
    """Puts ferrolite's interpreter into the public modules of a TensorFlow that is loaded."""
    name = "tensorflow.lite.python.interpreter"
    theirs = sys.modules.get(name)
    if theirs is None or getattr(theirs, "Interpreter", None) is interpreter.Interpreter:
        return
    swaps = {id(vars(theirs)[key]): value for key, value in _INTERPRETER.items() if key in vars(theirs)}
    public = ("tensorflow", "tensorflow.lite.python.lite")
    for module in [m for n, m in sys.modules.items() if n.startswith("tensorflow._api.") or n in public]:
        for key, value in list(vars(module).items()):
            if id(value) in swaps:
                _set(vars(module), key, swaps[id(value)])
    # TensorFlow's own modules have this one already and keep it; programs get another in its place.
    ours = types.ModuleType(name, theirs.__doc__)
    vars(ours).update({**vars(theirs), **_INTERPRETER})
    _set(sys.modules, name, ours)
    _set(vars(sys.modules["tensorflow.lite.python"]), "interpreter", ours)


def _set(place: dict[str, Any], key: str, value: object) -> None:
    _aside.append((place, key, place[key]))
    place[key] = value


def _wants_lite(frame: types.FrameType | None) -> bool:
    """Whether the module that imports tensorflow uses its lite; yes where there is no source to look at."""
    while frame is not None and "importlib" in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is None:
        return True
    source = "".join(linecache.getlines(frame.f_code.co_filename, frame.f_globals))
    return not source or re.search(r"\b(tf|tensorflow)\.lite\b|\bimport\b.*\blite\b", source) is not None


def _not_there(name: str) -> NoReturn:
    raise AttributeError(f"tensorflow.{name}: TensorFlow is not installed, and ferrolite stands in for tensorflow.lite only")


_installed: _Finder | None = None


def install() -> None:
    """Answers the imports of the other packages from now on, in this process."""
    global _installed
    if _installed is not None:
        return
    modules = {name: content for name, content in _RUNTIME.items() if "." in name or not _is_installed(name)}
    if "tensorflow" in sys.modules:
        _replace()
    elif not _is_installed("tensorflow"):
        modules.update(_TENSORFLOW)
    _forget(modules)
    _installed = _Finder(modules)
    sys.meta_path.insert(0, _installed)
    for name in modules:
        # A package that is loaded already may hold its own module.
        if name.rpartition(".")[0] in sys.modules:
            importlib.import_module(name)


def _is_installed(package: str) -> bool:
    return importlib.machinery.PathFinder.find_spec(package) is not None


def uninstall() -> None:
    """Undoes `install` for later imports."""
    global _installed
    if _installed is not None:
        sys.meta_path.remove(_installed)
        _forget(_installed.modules)
        while _aside:
            place, key, value = _aside.pop()
            place[key] = value
        _installed = None


def _forget(modules: Iterable[str]) -> None:
    for name in modules:
        sys.modules.pop(name, None)
        package, _, attribute = name.rpartition(".")
        vars(sys.modules[package]).pop(attribute, None) if package in sys.modules else None


def main(arguments: list[str] | None = None) -> None:
    """Runs a script or a module as ``python`` would, with the other packages answered by ferrolite."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m ferrolite.compat (script.py | -m module) [arguments]")
        sys.exit(0 if arguments else 2)
    install()
    if arguments[0] == "-m":
        if len(arguments) < 2:
            sys.exit("-m needs a module")
        sys.argv = arguments[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    # Under its own name, so that there is one finder.
    from ferrolite.compat import main as _main

    _main()
