"""What a server sent: a completion, something that another attempt may mend, or a refusal."""

import math
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, WrapValidator

from scoter.reasoning.language.language_model import Completion, CompletionRequest
from scoter.storage.untrusted import parse_json


class TryAgain(Exception):
    """An attempt that another one may mend; `wait` is the server's Retry-After in seconds, and
    `gone` whether it serves nobody for now."""

    def __init__(
        self, cause: str, detail: str, wait: float | None = None, gone: bool = False
    ) -> None:
        super().__init__(detail)
        self.cause, self.wait, self.gone = cause, wait, gone


def read_body(raw: bytes) -> "Body":
    """The body of a chat completion, or of a stream put together; anything else is a `TryAgain`.

    >>> read_body(b'{"choices": [{"message": {"content": "Soap"}}]}').text
    'Soap'
    """
    start = raw.lstrip()[:5]
    try:
        if start == b"data:":
            return _joined(raw)
        tree = parse_json(raw)
        answers = isinstance(tree, dict) and tree.get("choices")
        if not answers and (words := error_message(tree)[:200]):
            raise TryAgain("malformed", f"the server reports an error with status 200: {words}")
        return Body.model_validate(tree)
    except ValueError as error:
        what = "its schema is wrong" if isinstance(error, ValidationError) else "it is no JSON"
        if start.startswith(b"<"):
            what = "it is a web page; check that the address is that of the API and ends as in /v1"
        raise TryAgain("malformed", f"a reply cannot be read, {what}: {raw[:120]!r}") from None


def error_message(tree: object, depth: int = 4) -> str:
    """The words of a server's error, which some servers nest deeply; '' where there are none."""
    if isinstance(tree, str):
        return " ".join(tree.split())
    names = ("error", "message", "detail", "msg")
    inner = [tree.get(name) for name in names] if isinstance(tree, dict) else tree
    if not isinstance(inner, list) or not depth:
        return ""
    return next((words for part in inner[:4] if (words := error_message(part, depth - 1))), "")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from a number or an HTTP date; None where there is neither."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _joined(raw: bytes) -> "Body":
    """The pieces of a stream as one body; a `ValueError` where one is bad or the end is missing."""
    pieces = [line[5:].strip() for line in raw.splitlines() if line.startswith(b"data:")]
    chunks = [_Chunk.model_validate(parse_json(piece)) for piece in pieces if piece != b"[DONE]"]
    parts = [chunk.choices[0] for chunk in chunks if chunk.choices]
    reason = next((part.finish_reason for part in parts if part.finish_reason), None)
    if reason is None and b"[DONE]" not in pieces:
        raise ValueError("the stream has no end")
    deltas = [part.delta for part in parts]
    message = ReplyMessage(
        content="".join(delta.content for delta in deltas),
        reasoning_content="".join(delta.reasoning_content or "" for delta in deltas),
        reasoning="".join(delta.reasoning or "" for delta in deltas),
        refusal="".join(delta.refusal or "" for delta in deltas),
        tool_calls=[delta.tool_calls for delta in deltas if delta.tool_calls],
    )
    usage = next((c.usage for c in chunks if c.usage and c.usage != Tokens()), None)
    return Body(choices=[Choice(message=message, finish_reason=reason)], usage=usage)


def _or_none(value: object, read: Callable[[object], object]) -> object:
    """A value that makes no sense counts as absent, since it must cost no reply."""
    try:
        return read(value)
    except ValidationError:
        return None


def _text_of(content: object) -> object:
    """Content as text: None is empty, and parts are put together."""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        return "".join(part for part in parts if isinstance(part, str))
    return "" if content is None else content


_Word = Annotated[str | None, WrapValidator(_or_none)]
_Count = Annotated[int | None, Field(ge=0), WrapValidator(_or_none)]


class ReplyMessage(BaseModel):
    """What the model wrote; the fields below `content` say why that may be empty."""

    content: Annotated[str, BeforeValidator(_text_of)] = ""
    reasoning_content: _Word = None
    reasoning: _Word = None
    refusal: _Word = None
    tool_calls: object = None
    function_call: object = None


class Choice(BaseModel):
    message: ReplyMessage
    finish_reason: _Word = None


class Tokens(BaseModel):
    """The tokens of a reply, as far as the server counts them."""

    prompt_tokens: _Count = None
    completion_tokens: _Count = None


_Usage = Annotated[Tokens | None, WrapValidator(_or_none)]


class Body(BaseModel):
    """What is read of a chat completion; servers add fields, and leave optional ones out."""

    choices: list[Choice] = Field(min_length=1)
    usage: _Usage = None

    @property
    def text(self) -> str:
        return self.choices[0].message.content

    @property
    def metered(self) -> bool:
        """Whether the server says what the reply cost."""
        used = self.usage or Tokens()
        return used.prompt_tokens is not None and used.completion_tokens is not None

    @property
    def elsewhere(self) -> str:
        """Where the answer is if the content is empty, and the remedy; '' if it is not."""
        message, reason = self.choices[0].message, self.choices[0].finish_reason
        if self.text.strip():
            return ""
        if message.refusal:
            words = message.refusal[:200]
            return f"the content is empty, since the model refuses: {words!r}; name another model"
        if message.tool_calls or message.function_call:
            return "the content is empty, the answer is a tool call; serve the model without tools"
        for name in ("reasoning_content", "reasoning"):
            if getattr(message, name):
                cut = "the thoughts took all tokens: raise max_tokens, or " * (reason == "length")
                remedy = f"{cut}start the server without a reasoning parser"
                return f"the content is empty, and the text is in `{name}`; {remedy}"
        withheld = "the content is empty, since the server's filter withheld it; name another model"
        return withheld if reason == "content_filter" else ""

    def completion(self, raw: bytes, request: CompletionRequest) -> Completion:
        """The first choice; tokens that are not counted are a quarter of the characters."""
        message, used = self.choices[0].message, self.usage or Tokens()
        asked = sum(len(turn.content) for turn in request.messages)
        written = len(message.content) + len(message.reasoning_content or message.reasoning or "")
        prompt, answer = used.prompt_tokens, used.completion_tokens
        return Completion(
            text=self.text,
            finish_reason=self.choices[0].finish_reason or "",
            prompt_tokens=asked // 4 + 1 if prompt is None else prompt,
            completion_tokens=written // 4 + 1 if answer is None else answer,
            raw=raw.decode(errors="replace"),
        )


class _Piece(BaseModel):
    delta: ReplyMessage = ReplyMessage()
    finish_reason: _Word = None


class _Chunk(BaseModel):
    choices: list[_Piece] = []
    usage: _Usage = None
