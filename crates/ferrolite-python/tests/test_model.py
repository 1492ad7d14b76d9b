"""`ferrolite.Model`."""

import asyncio
import pickle

import numpy as np
import pytest

import ferrolite

rng = np.random.default_rng(7)


@pytest.fixture()
def model(network_file):
    return ferrolite.Model(network_file)


def test_batches_and_samples(model):
    x = rng.random((5, 8, 8, 1), np.float32)
    y = model(x)
    assert y.shape == (5, 4)
    assert np.array_equal(model(image=x), y)
    assert np.allclose(model(x[0]), y[0])
    assert np.allclose(model(x[:1]), y[:1])
    assert np.array_equal(model(x.astype(np.float64)), y)
    assert np.array_equal(model(x.tolist()), y)


class Foreign:
    """An array of another library."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **arguments):
        return self.array.__dlpack__(**arguments)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Interface:
    def __init__(self, array):
        self.array, self.__array_interface__ = array, array.__array_interface__


@pytest.mark.parametrize("wrap", [Foreign, Interface])
def test_foreign_arrays(model, wrap):
    x = rng.random((2, 8, 8, 1), np.float32)
    assert np.array_equal(model(wrap(x)), model(x))


def test_wrong_calls(model):
    x = np.zeros((1, 8, 8, 1), np.float32)
    with pytest.raises(TypeError, match="missing"):
        model()
    with pytest.raises(TypeError, match="1 inputs"):
        model(x, x)
    with pytest.raises(TypeError, match="no input 'y'"):
        model(y=x)
    with pytest.raises(TypeError, match="twice"):
        model(x, image=x)
    with pytest.raises(TypeError, match="complex"):
        model(x.astype(complex))
    with pytest.raises(ValueError, match=r"\[-1, 8, 8, 1\]"):
        model(np.zeros((1, 8, 9, 1)))


def test_acall(model):
    x = rng.random((1, 8, 8, 1), np.float32)

    async def both():
        return await asyncio.gather(model.acall(x), model.acall(image=x * 2))

    a, b = asyncio.run(both())
    assert np.array_equal(a, model(x)) and np.array_equal(b, model(x * 2))


def test_acall_lets_the_loop_run():
    from ferrolite import train

    layers = [train.Conv2D(32, 5, padding="same"), train.Conv2D(32, 5, padding="same"), train.GlobalAveragePooling2D()]
    model = ferrolite.Model(train.Sequential(layers, input_shape=(192, 192, 8)).build())
    x = rng.random((4, 192, 192, 8), np.float32)

    async def turns():
        task, count = asyncio.create_task(model.acall(x)), 0
        while not task.done():
            count += 1
            await asyncio.sleep(0)
        assert np.allclose(task.result(), model(x))
        return count

    assert asyncio.run(turns()) > 50


def test_batches_of_a_model_for_one_sample(case):
    # A reshape to [1, ...] keeps it from being planned for more.
    model = ferrolite.Model(case("reshape__f32__option"))
    shape = model._interpreter.get_input_details()[0]["shape"]
    xs = rng.random((3, *shape[1:]), np.float32)
    one = np.concatenate([model(x[np.newaxis]) for x in xs])
    assert np.array_equal(model(xs), one)


def test_text(model):
    assert repr(model) == "<ferrolite.Model 'network.tflite': image: float32[?, 8, 8, 1] -> output: float32[?, 4]>"
    summary = model.summary()
    assert "CONV_2D" in summary and "parameters: 184" in summary
    page = model._repr_html_()
    assert "4 nodes" in page and "[?, 8, 8, 1]" in page and "<table" in page


def test_measuring(model):
    report = model.benchmark(runs=5, warm_up=0.0)
    assert report["runs"] == 5 and report["latency_us"]["median"] > 0 and "median" in str(report)
    profile = model.profile(runs=3)
    assert {s["operator"] for s in profile} >= {"CONV_2D"} and "kernel" in str(profile)


def test_pickling(model):
    x = rng.random((1, 8, 8, 1), np.float32)
    assert np.array_equal(pickle.loads(pickle.dumps(model))(x), model(x))


def test_signatures(case):
    path = case("add__f32__two_signatures1")
    x = rng.random((2, 3), np.float32)
    assert np.array_equal(ferrolite.Model(path, signature="add")(a=x, b=x), x + x)
    several = ferrolite.Model(path, signature="scale")(x)
    assert set(several) == {"scaled", "turned"}
    with pytest.raises(ValueError, match="no signature"):
        ferrolite.Model(path, signature="zz")
