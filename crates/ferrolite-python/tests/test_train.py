"""`ferrolite.train`."""

import numpy as np
import pytest

import ferrolite
from ferrolite.train import SGD, Conv2D, Dense, Flatten, Input, MaxPooling2D, Rescaling, Sequential

rng = np.random.default_rng(7)


def stripes(n):
    """Images with a bright row or a bright column."""
    x, y = rng.random((n, 8, 8, 1), np.float32) * 100, rng.integers(0, 2, n)
    for image, label in zip(x, y):
        at = rng.integers(0, 8)
        image[(slice(None), at) if label else (at, slice(None))] = 255
    return x, y


def network():
    return Sequential(
        [Input((8, 8, 1)), Rescaling(1 / 255), Conv2D(8, 3, activation="relu"), MaxPooling2D(), Flatten(),
         Dense(2, activation="softmax")],
        seed=1,
    )


def test_learns_and_exports(tmp_path, capsys):
    x, y = stripes(600)
    x_test, y_test = stripes(200)
    model = network()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, epochs=8, validation_data=(x_test, y_test))
    assert "Epoch 8/8" in capsys.readouterr().out
    assert len(history.history["val_accuracy"]) == 8 and history.history["loss"][-1] < history.history["loss"][0]
    loss, accuracy = model.evaluate(x_test, y_test)
    assert accuracy > 0.9 and loss < 0.5
    content = model.export(tmp_path / "m.tflite")
    predicted = ferrolite.Model(tmp_path / "m.tflite")(x_test)
    assert np.allclose(predicted.sum(axis=1), 1, atol=1e-5)
    assert np.isclose((predicted.argmax(axis=1) == y_test).mean(), accuracy)
    assert np.allclose(model.predict(x_test), predicted)
    assert ferrolite.TFLiteConverter.from_tflite(model).convert() == content
    assert [p.name for p in tmp_path.iterdir()] == ["m.tflite"]


def test_stops_and_raises():
    x, y = stripes(64)
    model = network()
    with pytest.raises(RuntimeError, match="compile"):
        model.fit(x, y)
    model.compile(SGD(0.1, momentum=0.9))
    assert len(model.fit(x, y, epochs=9, verbose=0, callback=lambda epoch, scores: epoch == 2).epoch) == 2

    def interrupt(epoch, scores):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=9, verbose=0, callback=interrupt)
    with pytest.raises(ValueError, match="integers"):
        model.fit(x, y + 0.5)
    with pytest.raises(ValueError, match="labels"):
        model.fit(x, y[:5])


def test_same_seed_same_model():
    x, y = stripes(64)

    def trained():
        model = network()
        model.compile("adam")
        model.fit(x, y, verbose=0, validation_split=0.25)
        return model.export()

    assert trained() == trained()


def test_regression():
    x = rng.random((256, 3), np.float32)
    model = Sequential([Dense(1)], input_shape=(3,))
    model.compile(SGD(0.1), "mse")
    model.fit(x, x.sum(axis=1, keepdims=True), epochs=60, verbose=0)
    assert model.evaluate(x, x.sum(axis=1, keepdims=True), return_dict=True)["loss"] < 1e-3
