"""What a server sent: a completion, something that another attempt may mend, or a refusal."""

import json
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from pydantic import BaseModel, Field, ValidationError

from scoter.reasoning.language_model import Completion


class TryAgain(Exception):
    """An attempt that another one may mend; `wait` is what the server's Retry-After asks for, in seconds."""

    def __init__(self, cause: str, detail: str, wait: float | None = None) -> None:
        super().__init__(detail)
        self.cause, self.detail, self.wait = cause, detail, wait


def read_body(body: bytes) -> "Body":
    """The body of a chat completion. Whatever is no such thing is a `TryAgain` of cause 'malformed'.

    Example:
        >>> read_body(b'{"choices": [{"message": {"content": "Soap"}}]}').choices[0].message.content
        'Soap'
    """
    try:
        return Body.model_validate(json.loads(body))
    except (ValueError, RecursionError) as error:
        what = "its schema is wrong" if isinstance(error, ValidationError) else "it is no JSON"
        raise TryAgain("malformed", f"a reply cannot be read, {what}: {body[:120]!r}") from None


def read_completion(body: bytes) -> Completion:
    """The first choice of a body; without token counts, 0 stands in for each.

    Example:
        >>> read_completion(b'{"choices": [{"message": {"content": "Soap"}, "finish_reason": "stop"}]}').text
        'Soap'
    """
    reply = read_body(body)
    used = reply.usage or Tokens(prompt_tokens=0, completion_tokens=0)
    text, reason = reply.choices[0].message.content or "", reply.choices[0].finish_reason or ""
    return Completion(text, reason, used.prompt_tokens, used.completion_tokens, body.decode())


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: a number, or an HTTP date; None where the header is absent or makes no sense."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


class ReplyMessage(BaseModel):
    """What the model wrote."""

    content: str | None = None


class Choice(BaseModel):
    """One of the replies, and why it ended."""

    message: ReplyMessage
    finish_reason: str | None = None


class Tokens(BaseModel):
    """What a reply cost, in tokens."""

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class Body(BaseModel):
    """What we need of a chat completion; servers add other things as they like."""

    choices: list[Choice] = Field(min_length=1)
    usage: Tokens | None = None
