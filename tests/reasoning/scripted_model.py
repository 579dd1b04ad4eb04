"""A language model by script, for shops where each item has one successor: one structure of chain
knows it, no other does."""

import json
import random
import re
from collections.abc import Mapping

from scoter.reasoning.language.language_model import Completion, CompletionRequest
from scoter.reasoning.language.prompts import HISTORY_CLOSES, HISTORY_OPENS

PLANTED = ("last thing bought", "what goes with it")
OUTLINES = (
    PLANTED,
    ("age guess", "mood guess", "budget guess"),
    ("weather now",),
    ("brand list", "colour list"),
)


class ScriptedModel:
    """Writes chains after `OUTLINES`, by the request's seed; a chain with the steps of `PLANTED`
    names the successor.

    `templates` says what it does when asked for a template: "first" repeats the first outline it is
    shown, else that text is the reply. `broken` replies in a hundred hold no chain. `asked` keeps
    every request.
    """

    concurrency = 1

    def __init__(
        self,
        successor: Mapping[str, str],
        templates: str = "first",
        broken: int = 0,
        stop_after: int = 10**9,
    ) -> None:
        self.successor, self.templates, self.broken, self.stop_after = (
            successor,
            templates,
            broken,
            stop_after,
        )
        self.asked: list[CompletionRequest] = []

    def complete(self, request: CompletionRequest) -> Completion:
        if len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(request)
        text = self._reply(request)
        return Completion(
            text, "stop", len(request.messages[-1].content) // 4, len(text) // 4, text
        )

    def _reply(self, request: CompletionRequest) -> str:
        prompt = request.messages[-1].content
        chance = random.Random(request.key)
        if HISTORY_OPENS not in prompt:
            first = re.search(r"^1\. (.*)$", prompt, re.MULTILINE)
            return (
                json.dumps({"steps": json.loads(f"[{first[1]}]")})
                if self.templates == "first" and first
                else self.templates
            )
        if chance.randrange(100) < self.broken:
            return "I would rather not."
        titles = [
            json.loads(line)
            for line in prompt.split(HISTORY_OPENS)[-1].split(HISTORY_CLOSES)[0].split("\n")[1:-1]
        ]
        wanted = tuple(
            json.loads(role) for role in re.findall(r'^\d\. (".*")$', prompt, re.MULTILINE)
        )
        roles = (
            ()
            if '"steps"' not in prompt
            else wanted or OUTLINES[request.sampler_seed % len(OUTLINES)]
        )
        names = (
            [self.successor[titles[-1]]]
            if roles == PLANTED
            else chance.sample(sorted(self.successor), 1)
        )
        chain = {
            "steps": [{"role": role, "text": f"{role} says {titles[-1]}"} for role in roles],
            "recommendations": names,
        }
        return json.dumps(chain if roles else {"recommendations": names})
