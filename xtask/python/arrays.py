"""Random inputs for models, and how far apart two outputs are: what the comparisons beside this file share."""
import numpy as np


def random_input(rng, dtype, shape, high):
    """Floats in [-1, 1), narrow integers over their whole range, wide ones (they are often indices) below `high`."""
    dtype, shape = np.dtype(dtype), tuple(shape)
    if dtype.kind == "f":
        return (rng.random_sample(shape) * 2 - 1).astype(dtype)
    if dtype.kind == "c":
        return (rng.random_sample(shape) * 2 - 1 + 1j * rng.random_sample(shape)).astype(dtype)
    if dtype.kind == "b":
        return rng.randint(0, 2, shape).astype(bool)
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        info = np.iinfo(dtype)
        return rng.randint(info.min, int(info.max) + 1, shape).astype(dtype)
    if dtype.kind in "iu":
        return rng.randint(0, high, shape).astype(dtype)
    if dtype.kind in "SO":
        words = np.array([b"the quick brown fox", b"a", b"", b"hello world"], dtype=object)
        # A single one has to be an array of bytes: LiteRT reads the address of an object.
        return np.asarray(words[rng.randint(0, len(words), shape)])
    raise NotImplementedError(f"inputs of type {dtype}")


def difference(got, want, bound, cosine=0.0):
    """Why two outputs are not equal enough, or None: integers and strings have to be equal, floats within `bound` of the
    largest and of this cosine similarity."""
    if want.dtype.kind in "SO":
        got, want = got.astype(object), want.astype(object)
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"{got.dtype}{got.shape}, not {want.dtype}{want.shape}"
    if want.size == 0:
        return None
    if want.dtype.kind not in "fc":
        wrong = int((got != want).sum())
        return f"{wrong} of {want.size} elements differ" if wrong else None
    got, want = _wide(got), _wide(want)
    finite = np.isfinite(want)
    if not np.array_equal(got[~finite], want[~finite], equal_nan=True):
        return "infinities or NaNs differ"
    got, want = got[finite], want[finite]
    largest = np.abs(want).max(initial=0)
    error = np.abs(got - want).max(initial=0)
    if not error <= bound * largest:
        return f"off by {error / largest:.2g} of the largest" if largest else f"{error}, not 0"
    found = similarity(got, want)
    return f"cosine {found:.7f}" if found < cosine else None


def relative_error(got, want):
    """The largest difference of two float arrays relative to the largest value; infinite where they cannot be compared."""
    if got.shape != want.shape or got.dtype != want.dtype or want.dtype.kind != "f":
        return float("inf")
    largest = np.abs(want).max(initial=0)
    error = np.abs(got.astype(np.float64) - want).max(initial=0) / largest if largest else float("inf")
    return error if np.isfinite(error) else float("inf")


def similarity(got, want):
    """The cosine of the angle between two arrays of one size, taken as vectors; 1 where both are zero."""
    got, want = _wide(got), _wide(want)
    norms = np.linalg.norm(got) * np.linalg.norm(want)
    return float(abs(np.vdot(got, want)) / norms) if norms else float(np.array_equal(got, want))


def _wide(x):
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64).ravel()
