"""What is beyond single calls: threads, memory, pickling, types, signatures of other subgraphs."""

import copy
import gc
import pickle
import struct
import sys
import threading
import time
import weakref

import numpy as np
import pytest

import ferrolite

rng = np.random.default_rng(7)


def run(interpreter, x):
    interpreter.set_tensor(0, x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def ready(content, **arguments):
    interpreter = ferrolite.Interpreter(model_content=content, **arguments)
    interpreter.allocate_tensors()
    return interpreter


def test_threads_with_an_interpreter_each(network):
    xs = rng.random((8, 1, 8, 8, 1), np.float32)
    wanted = [run(ready(network), x) for x in xs]
    wrong = []

    def work(i):
        interpreter = ready(network)
        for _ in range(1000):
            if not np.array_equal(run(interpreter, xs[i]), wanted[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong


def test_threads_with_one_interpreter(network):
    interpreter, failures = ready(network), []

    def work():
        for _ in range(300):
            try:
                interpreter.invoke()
                interpreter.get_tensor(0)
                interpreter.get_input_details()
                interpreter.resize_tensor_input(0, [1, 8, 8, 1])
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not failures


def test_memory_stays_flat(network):
    resource = pytest.importorskip("resource")
    x = rng.random((1, 8, 8, 1), np.float32)

    def cycle(n):
        for _ in range(n):
            interpreter = ready(network)
            view = interpreter.tensor(0)()
            del view
            run(interpreter, x)
            interpreter.get_signature_runner()(image=x)
            interpreter.get_tensor_details()

    def resident():
        gc.collect()
        try:
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * 4096
        except OSError:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    cycle(300)
    before = resident()
    cycle(2000)
    assert resident() - before < 2 << 20


def test_a_view_outlives_its_interpreter(network):
    interpreter = ready(network)
    view = interpreter.tensor(0)()
    part = view[0, 2:5]
    view.fill(3)
    interpreter.close()
    del interpreter, view
    gc.collect()
    [ready(network) for _ in range(20)]
    assert np.all(part == 3)


def test_an_interpreter_is_freed(network):
    interpreter = ready(network)
    runner = interpreter.get_signature_runner()
    reference = weakref.ref(interpreter)
    del interpreter, runner
    assert reference() is None


def test_pickling_and_copying(network):
    interpreter = ready(network, num_threads=2)
    x = rng.random((1, 8, 8, 1), np.float32)
    wanted = run(interpreter, x)
    for other in (pickle.loads(pickle.dumps(interpreter)), copy.deepcopy(interpreter)):
        with pytest.raises(RuntimeError):
            other.invoke()
        other.allocate_tensors()
        assert np.array_equal(run(other, x), wanted)
        assert other._arguments == interpreter._arguments


def test_context_manager(network):
    with ferrolite.Interpreter(model_content=network) as interpreter:
        interpreter.allocate_tensors()
        interpreter.invoke()
    assert "closed" in repr(interpreter)


def test_the_lock_is_released(network):
    layers = [ferrolite.train.Conv2D(64, 3), ferrolite.train.Conv2D(64, 3)]
    interpreter = ready(ferrolite.train.Sequential(layers, input_shape=(128, 128, 8)).build())
    counted, done = [0], threading.Event()

    def count():
        while not done.is_set():
            counted[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=count)
    interval = sys.getswitchinterval()
    # Without a release the other thread would not run before `invoke` returns.
    sys.setswitchinterval(1000)
    try:
        thread.start()
        before = counted[0]
        interpreter.invoke()
        assert counted[0] > before
    finally:
        sys.setswitchinterval(interval)
        done.set()
        thread.join()


def test_preserve_all(network):
    with pytest.warns(UserWarning, match="debugging purposes"):
        interpreter = ready(network, experimental_preserve_all_tensors=True)
    x = rng.random((1, 8, 8, 1), np.float32)
    run(interpreter, x)
    conv = interpreter._get_ops_details()[0]["outputs"][0]
    pooled = interpreter._get_ops_details()[1]["outputs"][0]
    wanted = interpreter.get_tensor(conv).reshape(1, 3, 2, 3, 2, 4).max(axis=(2, 4))
    assert np.allclose(interpreter.get_tensor(pooled), wanted)


def test_reference_kernels_agree(network):
    x = rng.random((1, 8, 8, 1), np.float32)
    reference = ready(network, experimental_op_resolver_type=ferrolite.OpResolverType.BUILTIN_REF)
    assert np.allclose(run(reference, x), run(ready(network), x), atol=1e-5)


def test_strings(case):
    interpreter = ferrolite.Interpreter(case("(none)__str__move0"))
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    assert details["dtype"] is np.bytes_
    values = [b"", b"ab", "h\u00e9".encode(), b"\x00\xff", b"e" * 1000]
    for given in (np.array(values, object), np.array(["", "ab", "h\u00e9", "d", "e"])):
        interpreter.set_tensor(details["index"], given)
        interpreter.invoke()
        got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        assert got.dtype == object and got.shape == (5,)
        assert got.tolist() == [v if isinstance(v, bytes) else v.encode() for v in given.tolist()]
    with pytest.raises(ValueError, match="PyBytes_AsStringAndSize"):
        interpreter.set_tensor(details["index"], np.full(5, 3, object))
    with pytest.raises(ValueError, match="not a numpy array, got type list"):
        interpreter.set_tensor(details["index"], ["a"] * 5)
    with pytest.raises(ValueError):
        interpreter.tensor(details["index"])()


def test_packed_integers(case):
    interpreter = ferrolite.Interpreter(case("cast__i4__to_f32"))
    interpreter.allocate_tensors()
    details = interpreter.get_tensor_details()[1]
    assert details["dtype"] is np.int8
    values = interpreter.get_tensor(1)
    assert values.shape == tuple(details["shape"]) and values.min() >= -8 and values.max() <= 7


def test_bfloat16(case):
    interpreter = ferrolite.Interpreter(case("cast__bf16__to_bool"))
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    x = np.ones(details["shape"], details["dtype"])
    interpreter.set_tensor(details["index"], x)
    assert interpreter.get_tensor(details["index"]).dtype == x.dtype


def test_sparse_details(case):
    peer = pytest.importorskip("ai_edge_litert.interpreter")
    ours, theirs = (i.get_tensor_details()[0] for i in (ferrolite.Interpreter(case("densify__f16__blk1")),
                                                        peer.Interpreter(case("densify__f16__blk1"))))
    assert repr(ours) == repr(theirs)


def test_two_signatures(case):
    interpreter = ferrolite.Interpreter(case("add__f32__two_signatures1"))
    assert sorted(interpreter.get_signature_list()) == ["add", "scale"]
    with pytest.raises(ValueError, match="None is only allowed when the model has 1 SignatureDef"):
        interpreter.get_signature_runner()
    add, scale = interpreter.get_signature_runner("add"), interpreter.get_signature_runner("scale")
    x = rng.random((2, 3), np.float32)
    assert np.array_equal(add(a=x, b=x)["sum"], x + x)
    assert set(scale(x=x)) == {"scaled", "turned"}
    assert np.array_equal(add(a=x, b=x * 2)["sum"], x * 3)


def test_a_view_keeps_a_runner_from_moving_memory(network):
    interpreter = ready(network)
    view = interpreter.tensor(0)()
    with pytest.raises(RuntimeError, match="at least 1 reference"):
        interpreter.get_signature_runner()(image=np.zeros((9, 8, 8, 1), np.float32))
    del view
    interpreter.get_signature_runner()(image=np.zeros((9, 8, 8, 1), np.float32))


def field(content, table, index):
    """Where a FlatBuffer table keeps a field, None where it has the default."""
    (vtable,) = struct.unpack_from("<i", content, table)
    (offset,) = struct.unpack_from("<H", content, table - vtable + 4 + 2 * index)
    return table + offset if offset else None


def follow(content, at):
    return at + struct.unpack_from("<I", content, at)[0]


def test_operators_of_the_future(int8_network):
    peer = pytest.importorskip("ai_edge_litert.interpreter")
    content = bytearray(int8_network)
    codes = follow(content, field(content, follow(content, 0), 1))
    (count,) = struct.unpack_from("<I", content, codes)
    versions = [field(content, follow(content, codes + 4 + 4 * i), 2) for i in range(count)]
    struct.pack_into("<i", content, next(filter(None, versions)), 99)
    texts = []
    for api in (peer, ferrolite):
        with pytest.raises(ValueError) as caught:
            api.Interpreter(model_content=bytes(content))
        texts.append(str(caught.value))
    assert texts[0] == texts[1] and "version '99'" in texts[0]
