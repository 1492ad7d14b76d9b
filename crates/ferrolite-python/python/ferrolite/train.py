"""Trains small networks.

::

    from ferrolite.train import Conv2D, Dense, Flatten, MaxPooling2D, Sequential

    model = Sequential(
        [Conv2D(16, 3, activation="relu"), MaxPooling2D(2), Flatten(), Dense(10, activation="softmax")],
        input_shape=(28, 28, 1),
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    history = model.fit(x_train, y_train, epochs=3, validation_data=(x_test, y_test))
    loss, accuracy = model.evaluate(x_test, y_test)
    model.export("model.tflite")

Names and defaults are Keras'.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Callable, Iterable

import numpy as np

from . import _ferrolite
from .model import Model

__all__ = [
    "SGD",
    "Adam",
    "AveragePooling2D",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Flatten",
    "GlobalAveragePooling2D",
    "History",
    "Input",
    "MaxPooling2D",
    "Rescaling",
    "Sequential",
    "Softmax",
]


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def _split(activation: str | None) -> tuple[str | None, bool]:
    """The activation of the layer itself, and whether a softmax follows."""
    return (None, True) if activation == "softmax" else (activation, False)


class Layer:
    """A layer of a `Sequential`."""

    def _append(self, network: _ferrolite.Sequential) -> None:
        raise NotImplementedError


@dataclass
class Input(Layer):
    """The shape of a sample, as the first layer of a `Sequential`."""

    shape: tuple[int, ...]

    def _append(self, network: _ferrolite.Sequential) -> None:
        raise ValueError("Input is the first layer")


@dataclass
class Conv2D(Layer):
    """A convolution over images [height, width, channels]."""

    filters: int
    kernel_size: int | tuple[int, int]
    strides: int | tuple[int, int] = 1
    padding: str = "valid"
    activation: str | None = None

    def _append(self, network: _ferrolite.Sequential) -> None:
        act, softmax = _split(self.activation)
        network.conv_2d(self.filters, _pair(self.kernel_size), _pair(self.strides), self.padding, act)
        if softmax:
            network.softmax()


@dataclass
class DepthwiseConv2D(Layer):
    """A convolution of every channel on its own."""

    kernel_size: int | tuple[int, int]
    strides: int | tuple[int, int] = 1
    padding: str = "valid"
    activation: str | None = None

    def _append(self, network: _ferrolite.Sequential) -> None:
        act, softmax = _split(self.activation)
        network.depthwise_conv_2d(_pair(self.kernel_size), _pair(self.strides), self.padding, act)
        if softmax:
            network.softmax()


@dataclass
class MaxPooling2D(Layer):
    """The largest value of every window; windows do not overlap unless ``strides`` say so."""

    pool_size: int | tuple[int, int] = 2
    strides: int | tuple[int, int] | None = None
    padding: str = "valid"

    def _append(self, network: _ferrolite.Sequential) -> None:
        strides = self.pool_size if self.strides is None else self.strides
        network.max_pool_2d(_pair(self.pool_size), _pair(strides), self.padding)


@dataclass
class AveragePooling2D(Layer):
    """The mean of every window; windows do not overlap unless ``strides`` say so."""

    pool_size: int | tuple[int, int] = 2
    strides: int | tuple[int, int] | None = None
    padding: str = "valid"

    def _append(self, network: _ferrolite.Sequential) -> None:
        strides = self.pool_size if self.strides is None else self.strides
        network.average_pool_2d(_pair(self.pool_size), _pair(strides), self.padding)


@dataclass
class GlobalAveragePooling2D(Layer):
    """The mean of every channel over the whole image."""

    def _append(self, network: _ferrolite.Sequential) -> None:
        network.global_average_pool_2d()


@dataclass
class Flatten(Layer):
    """The sample as one vector."""

    def _append(self, network: _ferrolite.Sequential) -> None:
        network.flatten()


@dataclass
class Dense(Layer):
    """A fully connected layer over vectors."""

    units: int
    activation: str | None = None

    def _append(self, network: _ferrolite.Sequential) -> None:
        act, softmax = _split(self.activation)
        network.dense(self.units, act)
        if softmax:
            network.softmax()


@dataclass
class Rescaling(Layer):
    """x * scale + offset, which is not trained."""

    scale: float
    offset: float = 0.0

    def _append(self, network: _ferrolite.Sequential) -> None:
        network.rescaling(self.scale, self.offset)


@dataclass
class Softmax(Layer):
    """Probabilities from logits."""

    def _append(self, network: _ferrolite.Sequential) -> None:
        network.softmax()


@dataclass
class Adam:
    """The Adam optimizer."""

    learning_rate: float = 0.001
    name = "adam"
    momentum = 0.0
    nesterov = False


@dataclass
class SGD:
    """Stochastic gradient descent."""

    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    name = "sgd"


_OPTIMIZERS: dict[str, Callable[[], Adam | SGD]] = {"adam": Adam, "sgd": SGD}


class History:
    """What `Sequential.fit` did.

    Attributes:
      epoch: Numbers of the epochs, from 0.
      history: For every score (``loss``, ``accuracy``, ``val_loss``, ...) its value in each epoch.
    """

    def __init__(self, epochs: list[dict[str, float]]):
        self.epoch = list(range(len(epochs)))
        self.history = {name: [e[name] for e in epochs] for name in (epochs[0] if epochs else {})}

    def __repr__(self) -> str:
        last = ", ".join(f"{name}: {values[-1]:.4g}" for name, values in self.history.items())
        return f"<ferrolite.train.History of {len(self.epoch)} epochs, last {last}>"


class Sequential:
    """A chain of layers.

    Weights start as Glorot-uniform random numbers drawn from ``seed``, biases as zeros; the same seed and data give the
    same model.
    """

    def __init__(self, layers: Iterable[Layer] = (), input_shape: tuple[int, ...] | None = None, seed: int = 0):
        """A network of these layers for samples of shape ``input_shape`` (or of a first layer `Input`)."""
        self.layers: list[Layer] = []
        self.input_shape = None if input_shape is None else tuple(input_shape)
        self.seed = seed
        self._content: bytes | None = None
        self._trainer: _ferrolite.Trainer | None = None
        self._settings: dict[str, Any] | None = None
        for layer in layers:
            self.add(layer)

    def add(self, layer: Layer) -> None:
        """Appends a layer."""
        if self._trainer is not None:
            raise RuntimeError("layers cannot be added to a model in training")
        if isinstance(layer, Input) and not self.layers:
            self.input_shape = tuple(layer.shape)
            return
        self.layers.append(layer)
        self._content = None

    def build(self, input_shape: tuple[int, ...] | None = None) -> bytes:
        """Makes the model, untrained, and returns the bytes of its file."""
        if input_shape is not None:
            self.input_shape = tuple(input_shape)
        if self.input_shape is None:
            raise ValueError("the shape of a sample is not known: give input_shape, or Input(shape) as first layer")
        network = _ferrolite.Sequential(list(self.input_shape))
        for layer in self.layers:
            layer._append(network)
        self._content = network.build(self.seed)
        return self._content

    def compile(
        self,
        optimizer: str | Adam | SGD = "adam",
        loss: str = "sparse_categorical_crossentropy",
        metrics: Any = None,
        num_threads: int = 0,
    ) -> None:
        """Says how to train.

        Args:
          optimizer: ``"adam"``, ``"sgd"``, `Adam` or `SGD`.
          loss: ``"sparse_categorical_crossentropy"`` (integer labels) or ``"mean_squared_error"``.
          metrics: Accepted for compatibility: accuracy, or the mean absolute error, is always there.
          num_threads: Threads; one per core if 0.
        """
        if isinstance(optimizer, str):
            if optimizer not in _OPTIMIZERS:
                raise ValueError(f"there is no optimizer {optimizer!r}: adam, sgd")
            chosen = _OPTIMIZERS[optimizer]()
        else:
            chosen = optimizer
        self._settings = {
            "loss": {"mse": "mean_squared_error"}.get(loss, loss),
            "optimizer": chosen.name,
            "learning_rate": chosen.learning_rate,
            "momentum": chosen.momentum,
            "nesterov": chosen.nesterov,
            "seed": self.seed,
            "threads": num_threads,
            "frozen": [],
        }
        if self._trainer is not None:
            self._content = self._trainer.export()
        self._trainer = None

    def _ready(self, x: np.ndarray) -> _ferrolite.Trainer:
        if self._settings is None:
            raise RuntimeError("compile() the model first")
        if self._trainer is None:
            content = self._content or self.build(self.input_shape or x.shape[1:])
            self._trainer = _ferrolite.Trainer(content, **self._settings)
        return self._trainer

    def _data(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray, bool]:
        x = np.ascontiguousarray(x, np.float32)
        labels = self._settings is not None and self._settings["loss"] == "sparse_categorical_crossentropy"
        y = np.asarray(y)
        if labels:
            if y.dtype.kind not in "iu" or y.size and y.min() < 0:
                raise ValueError("labels have to be integers from 0")
            y = y.reshape(-1).astype(np.uint32)
        else:
            y = np.ascontiguousarray(y, np.float32)
        if self.input_shape is not None and x.shape[1:] != self.input_shape and x[0].size == np.prod(self.input_shape):
            x = x.reshape(-1, *self.input_shape)
        return x, y, labels

    def fit(
        self,
        x: Any,
        y: Any,
        epochs: int = 1,
        batch_size: int = 32,
        shuffle: bool = True,
        validation_data: tuple[Any, Any] | None = None,
        validation_split: float = 0.0,
        verbose: int | str = 1,
        callback: Callable[[int, dict[str, float]], Any] | None = None,
    ) -> History:
        """Trains the model.

        Args:
          x: Samples, [n, ...]; taken as float32, not rescaled.
          y: Labels [n], or values [n, ...] for the mean squared error.
          epochs: Passes over the data.
          batch_size: Samples per step.
          shuffle: Take the samples in a new order in every epoch.
          validation_data: Samples and targets to evaluate on after every epoch.
          validation_split: Share of the samples to take for that, from the end.
          verbose: 0 for no line per epoch.
          callback: Called after every epoch with its number, from 1, and its scores; stops training by returning true.
        """
        if validation_data is None and validation_split > 0.0:
            n = int(len(x) * (1.0 - validation_split))
            x, y, validation_data = x[:n], y[:n], (x[n:], y[n:])
        x, y, labels = self._data(x, y)
        validation = None if validation_data is None else self._data(*validation_data)[:2]

        def on_epoch(number: int, scores: dict[str, float]) -> bool:
            if verbose:
                shown = " - ".join(f"{k}: {v:.4f}" for k, v in scores.items() if not k.startswith(("sec", "sam")))
                print(f"Epoch {number}/{epochs} - {scores['seconds']:.1f}s - {shown}", flush=True)
            return bool(callback and callback(number, scores))

        fitted = self._ready(x).fit(x, y, labels, epochs, batch_size, shuffle, validation, on_epoch)
        return History(fitted)

    def evaluate(self, x: Any, y: Any, return_dict: bool = False) -> list[float] | dict[str, float]:
        """Loss and accuracy (or mean absolute error) on data."""
        x, y, labels = self._data(x, y)
        scores = self._ready(x).evaluate(x, y, labels)
        return scores if return_dict else list(scores.values())

    def predict(self, x: Any, batch_size: int = 32) -> np.ndarray:
        """Outputs for samples [n, ...]."""
        x = np.ascontiguousarray(x, np.float32)
        model = Model(self.export())
        return np.concatenate([model(x[i : i + batch_size]) for i in range(0, len(x), batch_size)])

    def export(self, path: str | os.PathLike[str] | None = None) -> bytes:
        """The model as a float ``.tflite`` file, with the weights as they are; also written to ``path``."""
        content = self._trainer.export() if self._trainer is not None else self._content or self.build()
        if path is not None:
            # Aside and renamed, so that nobody sees half a file.
            aside = f"{os.fspath(path)}.{os.getpid()}.partial"
            with open(aside, "wb") as file:
                file.write(content)
            os.replace(aside, path)
        return content

    def summary(self) -> str:
        """The layers as text; see `Model.summary`."""
        return Model(self.export()).summary()
