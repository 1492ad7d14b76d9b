"""Programs written for other packages, and the command line tool."""

import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import sys
import numpy as np
{imports}
assert __name__ == "__main__" and sys.argv[1:] == ["--flag", "x"], sys.argv
interpreter = {name}(model_path={path!r})
assert type(interpreter).__module__ == "ferrolite.interpreter"
interpreter.allocate_tensors()
interpreter.invoke()
print(interpreter.get_output_details()[0]["shape"])
"""

IMPORTS = [
    ("from tflite_runtime.interpreter import Interpreter, load_delegate", "Interpreter"),
    ("import tflite_runtime.interpreter as tflite", "tflite.Interpreter"),
    ("from ai_edge_litert.interpreter import Interpreter, OpResolverType", "Interpreter"),
    ("from ai_edge_litert import interpreter as t", "t.Interpreter"),
    ("import tensorflow as tf\ntf.float32, tf.lite.Optimize.DEFAULT, tf.lite.experimental.load_delegate",
     "tf.lite.Interpreter"),
    ("import tensorflow.lite as tflite", "tflite.Interpreter"),
    ("from tensorflow.lite.python.interpreter import Interpreter", "Interpreter"),
    ("import importlib.util\nassert importlib.util.find_spec('tflite_runtime')\n"
     "from tflite_runtime.interpreter import Interpreter", "Interpreter"),
]


def python(*arguments, **options):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("imports,name", IMPORTS, ids=[i[0].split("\n")[0] for i in IMPORTS])
def test_unmodified_scripts(tmp_path, network_file, imports, name):
    (tmp_path / "helper.py").write_text("")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(imports=imports + "\nimport helper", name=name, path=network_file))
    assert python("-m", "ferrolite.compat", str(script), "--flag", "x") == "[1 4]\n"


def test_modules(tmp_path, network_file):
    script = SCRIPT.format(imports=IMPORTS[0][0], name=IMPORTS[0][1], path=network_file)
    (tmp_path / "program.py").write_text(script)
    assert python("-m", "ferrolite.compat", "-m", "program", "--flag", "x", cwd=tmp_path) == "[1 4]\n"


def test_in_process(network_file):
    code = (
        "import ferrolite.compat as c; c.install(); c.install()\n"
        "import tflite_runtime.interpreter as t\nassert t.Interpreter.__module__ == 'ferrolite.interpreter'\n"
        "c.uninstall()\n"
        "try:\n import tflite_runtime\n raise SystemExit('still there')\nexcept ImportError: pass\n"
    )
    python("-c", code)


def test_installed_packages_keep_the_rest(network_file):
    pytest.importorskip("ai_edge_litert")
    code = (
        "import ai_edge_litert.interpreter as before\n"
        "import ferrolite.compat as c; c.install()\n"
        "import ai_edge_litert, ai_edge_litert.schema_py_generated\n"
        "from ai_edge_litert import interpreter\n"
        "import ai_edge_litert.interpreter as now\n"
        "assert now is interpreter is ai_edge_litert.interpreter and now is not before\n"
        "assert now.Interpreter.__module__ == 'ferrolite.interpreter' and ai_edge_litert.__file__\n"
        "c.uninstall()\n"
        "from ai_edge_litert.interpreter import Interpreter\n"
        "assert Interpreter.__module__ == 'ai_edge_litert.interpreter'\n"
    )
    python("-c", code)


def test_probing_for_tensorflow(tmp_path):
    probe = "try:\n    import tensorflow\nexcept ImportError:\n    print('none')\n"
    (tmp_path / "probe.py").write_text(probe)
    script = tmp_path / "script.py"
    script.write_text("import probe\nimport tensorflow as tf\nprint(tf.lite.Interpreter.__module__)\n")
    assert python("-m", "ferrolite.compat", str(script)) == "none\nferrolite.interpreter\n"


def test_the_rest_of_tensorflow():
    code = "import ferrolite.compat as c; c.install()\nimport tensorflow as tf\ntf.keras"
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "AttributeError: tensorflow.keras: TensorFlow is not installed" in failed.stderr


def test_command_line(network_file):
    assert "CONV_2D" in python("-m", "ferrolite", "info", network_file)
    failed = subprocess.run([sys.executable, "-m", "ferrolite", "info", "/nope"], capture_output=True, text=True)
    assert failed.returncode == 1 and "/nope" in failed.stderr
    assert subprocess.run([sys.executable, "-m", "ferrolite", "zz"], capture_output=True).returncode == 2


def test_numpy_alone():
    code = "import sys, ferrolite; bad = {'tensorflow', 'torch', 'ml_dtypes', 'tqdm'} & set(sys.modules); assert not bad, bad"
    python("-c", code)
    assert np
