"""`ferrolite.TFLiteConverter`."""

import enum

import numpy as np
import pytest

import ferrolite as tflite

rng = np.random.default_rng(7)
SAMPLES = rng.random((30, 1, 8, 8, 1), np.float32)


def lists():
    for x in SAMPLES:
        yield [x]


def dicts():
    for x in SAMPLES:
        yield {"image": x}


def tuples():
    for x in SAMPLES:
        yield ("serving_default", {"image": x})


def converter(network, dataset=None, optimize=True, ops=None, types=None, io=np.float32):
    c = tflite.TFLiteConverter.from_tflite(network)
    c.optimizations = [tflite.Optimize.DEFAULT] if optimize else []
    c.representative_dataset = dataset
    if ops:
        c.target_spec.supported_ops = ops
    if types:
        c.target_spec.supported_types = types
    c.inference_input_type = c.inference_output_type = io
    return c


def types(content):
    i = tflite.Interpreter(model_content=content)
    weights = next(t for t in i.get_tensor_details() if "kernel" in t["name"])
    return [np.dtype(d["dtype"]).name for d in (i.get_input_details()[0], i.get_output_details()[0], weights)]


INT8 = [tflite.OpsSet.TFLITE_BUILTINS_INT8]
INT16 = [tflite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]


def test_defaults(network):
    c = tflite.TFLiteConverter.from_tflite(network)
    assert (c.optimizations, c.representative_dataset, c.allow_custom_ops) == (set(), None, False)
    assert c.target_spec.supported_ops == {tflite.OpsSet.TFLITE_BUILTINS} and c.target_spec.supported_types == set()
    assert c.convert() == network
    assert tflite.OpsSet.get_options()[0] == "TFLITE_BUILTINS"


@pytest.mark.parametrize("dataset", [lists, dicts, tuples, tflite.RepresentativeDataset(lists)])
def test_int8(network, dataset):
    content = converter(network, dataset).convert()
    assert types(content) == ["float32", "float32", "int8"]
    want, got = (tflite.Model(m)(SAMPLES[:, 0]) for m in (network, content))
    assert np.abs(want - got).max() < 0.05


def test_modes(network):
    # Weights this small stay as they are in dynamic range mode.
    assert types(converter(network, types=[np.float16]).convert())[2] == "float16"
    assert types(converter(network, lists, ops=INT8, io=np.int8).convert()) == ["int8", "int8", "int8"]
    assert types(converter(network, lists, ops=INT8, io=np.uint8).convert()) == ["uint8", "uint8", "int8"]
    assert types(converter(network, lists, ops=INT8).convert()) == ["float32", "float32", "int8"]
    assert types(converter(network, lists, ops=INT16, io=np.int16).convert())[:2] == ["int16", "int16"]


@pytest.mark.parametrize("method", ["min-max", "moving-average", "percentile=99.9", "entropy", "mse"])
def test_calibration_methods(network, method):
    c = converter(network, lists)
    c.calibration_method = method
    want, got = (tflite.Model(m)(SAMPLES[:, 0]) for m in (network, c.convert()))
    assert np.abs(want - got).max() < 0.05
    c.calibration_method = "best"
    with pytest.raises(ValueError, match="'best'|\"best\".*min-max"):
        c.convert()


def test_recipe(network):
    c = converter(network, lists, optimize=False)
    c.recipe = [{"operators": ["CONV_2D"], "scheme": "int8"}]
    want, got = (tflite.Model(m)(SAMPLES[:, 0]) for m in (network, c.convert()))
    assert 0 < np.abs(want - got).max() < 0.05
    c.recipe = [{"scheme": "int9"}]
    with pytest.raises(ValueError, match="recipe: rule 0: there is no scheme"):
        c.convert()


def test_contradictions(network):
    with pytest.raises(ValueError) as e:
        converter(network, ops=INT8).convert()
    assert str(e.value) == "For full integer quantization, a `representative_dataset` must be specified."
    with pytest.raises(ValueError) as e:
        converter(network, optimize=False, io=np.int8).convert()
    assert str(e.value) == "The inference_input_type and inference_output_type must be tf.float32."
    with pytest.raises(ValueError) as e:
        converter(network, lists, io=np.int64).convert()
    assert str(e.value) == (
        "The inference_input_type and inference_output_type must be in "
        "['tf.float32', 'tf.int8', 'tf.uint8', 'tf.int16']."
    )
    with pytest.raises(ValueError, match="should be left uninitizalized or set to {tf.int8}"):
        converter(network, lists, ops=INT8, types=[np.float16]).convert()
    with pytest.raises(ValueError, match="no inputs"):
        converter(network, lambda: iter([{"zz": SAMPLES[0]}])).convert()
    with pytest.raises(ValueError, match="Invalid signature key 'zz' found. Valid keys are 'serving_default'."):
        converter(network, lambda: iter([("zz", {"image": SAMPLES[0]})])).convert()


def test_not_yet():
    for make in (
        lambda: tflite.TFLiteConverter.from_keras_model(None),
        lambda: tflite.TFLiteConverter.from_saved_model("dir"),
        lambda: tflite.TFLiteConverter.from_concrete_functions([]),
        lambda: tflite.TFLiteConverter([]),
    ):
        with pytest.raises(NotImplementedError, match="docs/python.md"):
            make()


def test_progress(network, capsys):
    c = converter(network, lists)
    c.convert()
    assert capsys.readouterr() == ("", "")
    c.progress = True
    c.convert()
    assert capsys.readouterr().err


def test_enumerations_of_tensorflow(network):
    """Members of other classes count by their names; anything else is an error."""
    Theirs = enum.Enum("Theirs", "DEFAULT TFLITE_BUILTINS_INT8")
    content = converter(network, lists, ops=[Theirs.TFLITE_BUILTINS_INT8], io=np.int8)
    content.optimizations = [Theirs.DEFAULT]
    assert types(content.convert()) == ["int8", "int8", "int8"]
    content.optimizations = ["speed"]
    with pytest.raises(ValueError, match="'speed' is no Optimize: DEFAULT"):
        content.convert()


def test_nothing_to_quantize(network):
    """Weights of fewer than 1024 elements are not worth it: the model comes back as it is."""
    small = converter(network)
    with pytest.warns(UserWarning, match="nothing to quantize"):
        assert small.convert() == network
