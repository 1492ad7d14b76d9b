"""Models for the tests, and the closing count."""

import os
import pathlib

import numpy as np
import pytest

import ferrolite
from ferrolite import train


def opsuite():
    """The folder of conformance cases, or None."""
    above = pathlib.Path(__file__).resolve().parents
    for folder in (os.environ.get("FERROLITE_OPSUITE"), *(up / "shared" / "opsuite" for up in above)):
        if folder and (pathlib.Path(folder) / "index.json").is_file():
            return pathlib.Path(folder)
    return None


@pytest.fixture(scope="session")
def case():
    """The file of a conformance case by its name."""
    folder = opsuite()
    if folder is None:
        pytest.skip("no conformance cases: set FERROLITE_OPSUITE")
    return lambda name: str(folder / f"{name}.tflite")


@pytest.fixture(scope="session")
def network():
    """An untrained network [n, 8, 8, 1] -> [n, 4] as bytes; its first dimension is open."""
    layers = [train.Conv2D(4, 3, activation="relu"), train.MaxPooling2D(2), train.Flatten(), train.Dense(4)]
    return train.Sequential(layers, input_shape=(8, 8, 1), seed=3).build()


@pytest.fixture(scope="session")
def network_file(network, tmp_path_factory):
    """The same as a file."""
    path = tmp_path_factory.mktemp("models") / "network.tflite"
    path.write_bytes(network)
    return str(path)


@pytest.fixture(scope="session")
def int8_network(network):
    """The same with int8 inputs, outputs and weights."""
    samples = np.random.default_rng(1).random((20, 1, 8, 8, 1), np.float32)
    converter = ferrolite.TFLiteConverter.from_tflite(network)
    converter.optimizations = [ferrolite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x] for x in samples)
    converter.target_spec.supported_ops = [ferrolite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = np.int8
    return converter.convert()


def pytest_configure(config):
    # LiteRT's delegates that could not be loaded complain when they are collected.
    config.addinivalue_line("filterwarnings", "ignore:.*Delegate.__del__:pytest.PytestUnraisableExceptionWarning")


def pytest_terminal_summary(terminalreporter):
    def count(*kinds):
        return sum(len(terminalreporter.stats.get(kind, [])) for kind in kinds)

    print(f"\n{count('passed')} passed, {count('failed', 'error')} failed, {count('skipped')} skipped")
