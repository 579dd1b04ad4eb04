"""What a server sent: a completion, something that another attempt may mend, or a refusal."""

import math
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, WrapValidator

from scoter.reasoning.language.language_model import Completion, CompletionRequest
from scoter.storage.untrusted import parse_json


class TryAgain(Exception):
    """An attempt that another one may mend; `wait` is what the server's Retry-After asks for, in
    seconds."""

    def __init__(self, cause: str, detail: str, wait: float | None = None) -> None:
        super().__init__(detail)
        self.cause, self.detail, self.wait = cause, detail, wait


def read_body(body: bytes) -> "Body":
    """The body of a chat completion. Whatever is no such thing is a `TryAgain` of cause
    'malformed'.

    A body that comes in the pieces of a stream is put together, if it is there to its end.

    Example:
        >>> read_body(b'{"choices": [{"message": {"content": "Soap"}}]}').text
        'Soap'
    """
    try:
        found = _joined(body) if body.lstrip().startswith(b"data:") else parse_json(body)
        chosen = isinstance(found, dict) and found.get("choices")
        if not chosen and (said := error_message(found)[:200]):
            raise TryAgain("malformed", f"the server reports an error with status 200: {said}")
        return Body.model_validate(found)
    except ValueError as error:
        what = "its schema is wrong" if isinstance(error, ValidationError) else "it is no JSON"
        if body.lstrip().startswith(b"<"):
            what = "it is a web page; check that the address is that of the API and ends as in /v1"
        raise TryAgain("malformed", f"a reply cannot be read, {what}: {body[:120]!r}") from None


def error_message(found: Any, depth: int = 4) -> str:
    """The words of a server's error, which lie deeper in some servers; '' where there are none.

    Example:
        >>> error_message({"error": {"message": "no such model"}})
        'no such model'
    """
    if isinstance(found, str):
        return " ".join(found.split())
    names = ("error", "message", "detail", "msg")
    inner = [found.get(name) for name in names] if isinstance(found, dict) else found
    if not isinstance(inner, list) or not depth:
        return ""
    return next((said for part in inner[:4] if (said := error_message(part, depth - 1))), "")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: a number, or an HTTP date; None where the header is absent or makes no
    sense."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _joined(body: bytes) -> Any:
    """The pieces of a stream as one body.

    Raises:
        ValueError: a piece is no JSON, or the last ones are missing.
    """
    pieces = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
    chunks = [_Chunk.model_validate(parse_json(piece)) for piece in pieces if piece != b"[DONE]"]
    told = [chunk.choices[0] for chunk in chunks if chunk.choices]
    reason = next((piece.finish_reason for piece in told if piece.finish_reason), None)
    if reason is None and b"[DONE]" not in pieces:
        raise ValueError("the stream has no end")
    words = ("content", "reasoning_content", "reasoning", "refusal")
    message: dict[str, Any] = {
        name: "".join(getattr(piece.delta, name) or "" for piece in told) for name in words
    }
    message["tool_calls"] = [piece.delta.tool_calls for piece in told if piece.delta.tool_calls]
    usage = next((chunk.usage for chunk in chunks if chunk.usage), None)
    return {"choices": [{"message": message, "finish_reason": reason}], "usage": usage}


def _or_none(value: Any, read: Callable[[Any], Any]) -> Any:
    """What decides nothing costs no reply: a value that makes no sense counts as absent."""
    try:
        return read(value)
    except ValidationError:
        return None


def _text_of(content: Any) -> Any:
    """Content as text: none is empty, and parts are put together."""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        return "".join(part for part in parts if isinstance(part, str))
    return "" if content is None else content


_Word = Annotated[str | None, WrapValidator(_or_none)]
_Count = Annotated[int | None, Field(ge=0), WrapValidator(_or_none)]


class ReplyMessage(BaseModel):
    """What the model wrote: its answer is the content; the others say why that may be empty."""

    content: Annotated[str, BeforeValidator(_text_of)] = ""
    reasoning_content: _Word = None
    reasoning: _Word = None
    refusal: _Word = None
    tool_calls: Any = None
    function_call: Any = None


class Choice(BaseModel):
    """One of the replies, and why it ended."""

    message: ReplyMessage
    finish_reason: _Word = None


class Tokens(BaseModel):
    """What a reply cost, in tokens, as far as the server says it."""

    prompt_tokens: _Count = None
    completion_tokens: _Count = None


class Body(BaseModel):
    """What we need of a chat completion; servers add other things and leave optional ones out."""

    choices: list[Choice] = Field(min_length=1)
    usage: Annotated[Tokens | None, WrapValidator(_or_none)] = None

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
        """Where the answer stands if the content is empty, and the remedy; '' if it is not."""
        message, cut = self.choices[0].message, self.choices[0].finish_reason
        if self.text.strip():
            return ""
        if message.refusal:
            refusal = f"the model refuses: {message.refusal[:200]!r}"
            return f"the content is empty, since {refusal}; name another model"
        if message.tool_calls or message.function_call:
            return "the content is empty, the answer is a tool call; serve the model without tools"
        for name in ("reasoning_content", "reasoning"):
            if getattr(message, name):
                longer = "the thoughts took all tokens: raise max_tokens, or " * (cut == "length")
                remedy = f"{longer}start the server without a reasoning parser"
                return f"the content is empty, and the text is in `{name}`; {remedy}"
        withheld = "the content is empty, since the server's filter withheld it; name another model"
        return withheld if cut == "content_filter" else ""

    def completion(self, raw: bytes, request: CompletionRequest | None = None) -> Completion:
        """The first choice; a token stands for four characters where the server does not count."""
        message, used = self.choices[0].message, self.usage or Tokens()
        asked = sum(len(turn.content) for turn in request.messages) if request is not None else 0
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
    """A choice of one piece of a stream."""

    delta: ReplyMessage = ReplyMessage()
    finish_reason: _Word = None


class _Chunk(BaseModel):
    """One piece of a stream."""

    choices: list[_Piece] = []
    usage: Any = None
