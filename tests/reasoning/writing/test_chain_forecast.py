"""A running job's forecast goes by what it took of late."""

from scoter.reasoning.language.metering import Usage
from scoter.reasoning.writing import forecast as chain_forecast
from scoter.reasoning.writing.forecast import Progress


def test_a_start_from_stored_replies_does_not_promise_a_fast_end(monkeypatch):
    now, calls = 0.0, 0
    monkeypatch.setattr(chain_forecast.time, "monotonic", lambda: now)
    said = []
    usage = lambda: Usage(attempts=calls, prompt_tokens=100 * calls, completion_tokens=10 * calls)  # noqa: E731
    progress = Progress(1000, said.append, usage, (10_000.0, 0.0), interval=10.0)
    for _ in range(500):  # stored: 0.01 s each
        now += 0.01
        progress("valid")
    for _ in range(200):  # asked: 2 s each
        now, calls = now + 2, calls + 1
        progress("valid")
    left = progress.left()
    assert (left.chains, left.calls, left.prompt_tokens, left.completion_tokens) == (
        300,
        300,
        30_000,
        3_000,
    )
    assert abs(left.seconds - 600) < 1e-6
    assert left.money == 300.0
    assert said[-1].startswith(
        "699 of 1,000 chains (699 valid); to come: 301 chains, about 301 calls"
    )
