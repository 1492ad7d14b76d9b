"""Trains the network of ferrolite's `fashion_mnist` example with Keras and prints the same line per epoch.

    python keras_train.py DIR EPOCHS BATCH

DIR holds the four idx files of Fashion-MNIST, plain or .gz.
"""

import gzip
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np


def idx(directory, name, header):
    path = os.path.join(directory, name)
    if os.path.exists(path):
        with open(path, "rb") as file:
            data = file.read()
    else:
        with gzip.open(path + ".gz") as file:
            data = file.read()
    return np.frombuffer(data, np.uint8, offset=header)


def load(directory, part):
    images = idx(directory, f"{part}-images-idx3-ubyte", 16).reshape(-1, 28, 28, 1)
    return images.astype(np.float32) / 255, idx(directory, f"{part}-labels-idx1-ubyte", 8).astype(np.int32)


class Report(keras.callbacks.Callback):
    """Times training alone: validation is done by hand, after the clock has stopped."""

    def __init__(self, test):
        super().__init__()
        self.test = test

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.start
        accuracy = self.model.evaluate(*self.test, batch_size=256, verbose=0, return_dict=True)["accuracy"]
        print(
            f"epoch {epoch + 1} seconds {seconds:.3f} loss {logs['loss']:.4f} "
            f"accuracy {logs['accuracy']:.4f} test_accuracy {accuracy:.4f}",
            flush=True,
        )


def main():
    directory, epochs, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    train, test = load(directory, "train"), load(directory, "t10k")
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss, metrics=["accuracy"])
    model.fit(*train, batch_size=batch, epochs=epochs, verbose=0, callbacks=[Report(test)])


main()
