"""A real HTTP server on loopback that misbehaves on purpose: `plan(prompt, attempt)` names what
each attempt gets."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from scoter.protocols import LanguageModel
from scoter.reasoning.language.language_model import (
    Answer,
    Completion,
    CompletionRequest,
    answer_many,
)

Plan = Callable[[str, int], str]
PROMPT_TOKENS, COMPLETION_TOKENS = 7, 3


def complete_many(
    model: LanguageModel, requests: Iterable[CompletionRequest]
) -> Iterator[Answer[Completion]]:
    return answer_many(model.complete, requests, model.concurrency)


class ScriptedServer:
    """Records what it saw: attempts per prompt, when they came, request bodies, headers, the most
    calls at once."""

    def __init__(
        self,
        plan: Plan,
        reply: Callable[[str, int], str] = lambda prompt, attempt: f"reply to {prompt}",
        refusal: str = "",
    ) -> None:
        self.plan, self.reply, self.refusal = plan, reply, refusal
        self.attempts: Counter[str] = Counter()
        self.behaviours: Counter[str] = Counter()
        self.arrivals: list[tuple[float, str]] = []
        self.bodies: list[dict] = []
        self.authorizations: set[str] = set()
        self.now = self.most_at_once = 0
        self.lock = threading.Lock()
        self.stopping = threading.Event()

    def __enter__(self) -> "ScriptedServer":
        scripted = self

        class Handler(_Handler):
            server_of = scripted

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None  # a client that went away is what we are here for
        self.http.daemon_threads = True
        self.thread = threading.Thread(
            target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self.thread.start()
        self.base_url = f"http://127.0.0.1:{self.http.server_port}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: ScriptedServer

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        scripted = self.server_of
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][-1]["content"]
        with scripted.lock:
            attempt = scripted.attempts[prompt]
            scripted.attempts[prompt] += 1
            scripted.arrivals.append((time.monotonic(), prompt))
            scripted.bodies.append(body)
            scripted.authorizations.add(self.headers["Authorization"])
            scripted.now += 1
            scripted.most_at_once = max(scripted.most_at_once, scripted.now)
            behaviour = scripted.plan(prompt, attempt)
            scripted.behaviours[behaviour] += 1
        try:
            self._behave(behaviour, scripted.reply(prompt, attempt))
        finally:
            with scripted.lock:
                scripted.now -= 1

    def _behave(self, behaviour: str, text: str) -> None:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS}
        whole = json.dumps(
            {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}
        ).encode()
        name, _, argument = behaviour.partition(":")
        if name in ("429", "503") and argument:
            self._send(int(name), b'{"error": {"message": "slow down"}}', {"Retry-After": argument})
        elif name.isdigit():
            said = self.server_of.refusal or f"status {name} for {self.headers['Authorization']}"
            self._send(int(name), json.dumps({"error": {"message": said}}).encode())
        elif name == "time-out":
            self.server_of.stopping.wait(30)
            self.close_connection = True
        elif name == "cut":
            self._send(200, whole[: len(whole) // 2], {"Content-Length": str(len(whole))})
            self.close_connection = True
        elif name == "hang up":
            self.close_connection = True
        elif name == "drip":
            self._send(200, b"", {"Content-Length": str(10_000)})
            while not self.server_of.stopping.wait(0.05):
                self.wfile.write(b" ")
        elif name == "slow":
            time.sleep(float(argument))
            self._send(200, whole)
        else:
            twice = json.dumps(
                {"choices": [choice, {**choice, "index": 1}, choice], "usage": usage}
            ).encode()
            bodies = {
                "ok": whole,
                "malformed": whole[:-20],
                "empty": b"",
                "wrong schema": b'{"object": "chat.completion", "choices": []}',
                "not UTF-8": b"\xff\xfe" + whole,
                "duplicated": twice,
                "no usage": json.dumps({"choices": [choice]}).encode(),
                "raw": text.encode(),
            }
            self._send(200, bodies[name])

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (
            {"Content-Type": "application/json", "Content-Length": str(len(body))} | (headers or {})
        ).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
