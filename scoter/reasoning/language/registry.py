"""Language models by the name that `--language-model` gives, and how a package adds its own."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

from scoter.errors import ConfigError, closest
from scoter.plugins import Plugins
from scoter.protocols import LanguageModel
from scoter.reasoning.language.local_server import LOCAL_MODEL, local_server, model_name
from scoter.reasoning.language.openai_model import OpenAIModel
from scoter.reasoning.language.replies import RequestStore, StoredModel
from scoter.reasoning.language.server import ServerConfig

_LOCAL_PATIENCE = 900.0  # seconds for a call: on a busy machine nobody else answers sooner

Factory = Callable[[str, ServerConfig], LanguageModel | AbstractContextManager[LanguageModel]]

LANGUAGE_MODELS: Plugins[Factory] = Plugins(
    "a language model",
    "scoter.language_models",
    {"local": f"{__name__}:local_model", "server": f"{__name__}:server_model"},
    reserved=("catalog",),
)

register_language_model = LANGUAGE_MODELS.register
"""`@register_language_model("mine")` adds a factory for `--language-model mine:REST`.

The factory takes REST and the options of the server. It gives a `LanguageModel`, or a context
manager of one where something must be closed afterwards.
"""


@dataclass(frozen=True)
class ModelChoice:
    """A language model as a user names it; other processes and machines can open it too."""

    way: str  # its name in LANGUAGE_MODELS
    rest: str  # what follows the name and a colon; for a server the model's name
    server: ServerConfig
    opened: LanguageModel | None = None  # a model that is open already

    @property
    def name(self) -> str:
        if self.way == "local":
            return model_name(self.rest) if self.rest else LOCAL_MODEL
        return self.rest if self.way == "server" else f"{self.way}:{self.rest}".rstrip(":")

    @property
    def small(self) -> bool:
        """Whether this is the packaged model, too small for long prompts."""
        return self.way == "local" and not self.rest

    @contextmanager
    def open(self) -> Iterator[LanguageModel]:
        if self.opened is not None:  # whoever opened it closes it
            yield self.opened
            return
        made = LANGUAGE_MODELS.get(self.way)(self.rest, self.server)
        with made if isinstance(made, AbstractContextManager) else nullcontext(made) as model:
            if not isinstance(model, LanguageModel):
                given = f"gives a {type(model).__name__}, which lacks complete or concurrency"
                remedy = "its factory must give an object with both"
                raise ConfigError(f"the language model {self.name!r} {given}; {remedy}")
            yield model

    @contextmanager
    def kept_open(self) -> Iterator["ModelChoice"]:
        """The same choice for several jobs, which share one open model and its budget."""
        with self.open() as model:
            yield replace(self, opened=model)

    @contextmanager
    def recording(self, store: RequestStore) -> Iterator[StoredModel]:
        """The model while the block runs, asked only for what `store`, of this job alone, lacks."""
        with self.open() as model:
            if isinstance(model, OpenAIModel):
                model.answered_before = len(store) > 0
            yield store.recording(model)


def choose_language_model(
    text: str, server: ServerConfig = ServerConfig(), *, offline: bool = False
) -> ModelChoice | None:
    """The language model that `--language-model` names; None for `catalog`, the symbolic reasoner.

    `local`, `local:FILE` and `NAME:REST` are entries of `LANGUAGE_MODELS`; any other text is the
    name of a model at `server.base_url`, which only `offline` may be empty.
    """
    if text in ("catalog", "local") and server.base_url:
        remedy = "leave it out, or name the server's model"
        useless = f"has no use for --base-url {server.base_url}"
        raise ConfigError(f"--language-model {text} {useless}; {remedy}")
    if text == "catalog":
        return None
    way, _, rest = text.partition(":")
    known = LANGUAGE_MODELS.names()
    if way not in known or (way == "local" and rest and server.base_url):
        way, rest = "server", text
    if way == "server" and not (server.base_url or offline):
        ways = ", ".join(name for name in known if name != "server")
        raise ConfigError(
            f"--language-model {text} needs the address of its server: --base-url "
            f"http://HOST:PORT/v1; without one, choose from: catalog, {ways}{closest(text, known)}"
        )
    return ModelChoice(way, rest, server)


def server_model(_name: str, server: ServerConfig) -> OpenAIModel:
    """The models of an OpenAI-compatible server; each request names its own."""
    return OpenAIModel(server)


@contextmanager
def local_model(file: str, server: ServerConfig) -> Iterator[OpenAIModel]:
    """The model in a GGUF file; without one the packaged SmolLM2, one request at a time."""
    slots = server.concurrency if file else 1
    with local_server(file, server.model_threads, slots) as address:
        seconds = max(server.timeout, _LOCAL_PATIENCE)
        found = {"base_url": address, "concurrency": slots, "timeout": seconds}
        here = replace(server, guided="llama.cpp", **found)
        with OpenAIModel(here) as model:
            yield model
