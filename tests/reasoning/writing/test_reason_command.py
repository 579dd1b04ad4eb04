"""`scoter reason` with servers that misbehave, budgets that end, batch files, and the catalogue
reasoner."""

import gzip
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from reason_command import arguments, bytes_of, chain_text, digest, reason, rows_of, run_here
from scripted_server import COMPLETION_TOKENS, PROMPT_TOKENS, ScriptedServer

BAD = (
    "429:0.01",
    "500",
    "503",
    "time-out",
    "cut",
    "hang up",
    "malformed",
    "empty",
    "wrong schema",
    "not UTF-8",
    "duplicated",
    "ok",
)
CAUSES = {
    **dict.fromkeys(("429:0.01",), "rate limit"),
    **dict.fromkeys(("500", "503"), "server error"),
    "time-out": "timeout",
    **dict.fromkeys(("cut", "hang up"), "connection"),
    **dict.fromkeys(("malformed", "empty", "wrong schema", "not UTF-8"), "malformed"),
}


def well(prompt: str, attempt: int) -> str:
    return chain_text(prompt)


def asking(server: ScriptedServer, *more: str) -> tuple[str, ...]:
    return (
        "--language-model",
        "any",
        "--base-url",
        server.base_url,
        "--first-pause",
        "0.001",
        *more,
    )


def test_a_misbehaving_server_costs_no_chain_and_doubles_none(tmp_path):
    bad = [
        behaviour for behaviour in BAD if behaviour != "time-out"
    ]  # how many of these there are, a busy machine decides too
    with ScriptedServer(
        lambda prompt, attempt: bad[(int(digest(prompt), 16) + attempt) % len(bad)], well
    ) as server:
        given = asking(
            server,
            "--concurrency",
            "6",
            "--timeout",
            "60",
            "--attempts",
            "40",
            "--shard-rows",
            "20",
            "--limit",
            "48",
        )
        found = reason(arguments(tmp_path, tmp_path / "out", *given))
    usage = found["usage"]
    check_chains(found, rows_of(tmp_path / "out"))
    assert set(server.behaviours) == set(bad)
    expected: Counter[str] = Counter()
    for behaviour, count in server.behaviours.items():
        if behaviour in CAUSES:
            expected[CAUSES[behaviour]] += count
    assert usage["causes"] == expected
    assert usage["attempts"] == server.attempts.total()
    assert usage["replies"] == usage["attempts"] - expected.total() == len(server.attempts)
    assert usage["failures"] == 0
    assert usage["extra_choices"] == 2 * server.behaviours["duplicated"]
    assert usage["prompt_tokens"] == PROMPT_TOKENS * usage["replies"]
    assert usage["completion_tokens"] == COMPLETION_TOKENS * usage["replies"]


def test_a_server_that_falls_silent_is_not_waited_for(tmp_path):
    def plan(prompt: str, attempt: int) -> str:
        return (
            ("time-out", "drip", "cut", "ok")[int(digest(prompt), 16) % 4] if attempt == 0 else "ok"
        )

    with ScriptedServer(plan, well) as server:
        given = asking(
            server, "--concurrency", "6", "--timeout", "1", "--attempts", "40", "--limit", "16"
        )
        found = reason(arguments(tmp_path, tmp_path / "out", *given))
    usage = found["usage"]
    check_chains(found, rows_of(tmp_path / "out"))
    assert (
        usage["causes"]["timeout"] >= server.behaviours["time-out"] + server.behaviours["drip"] > 2
    )
    assert usage["attempts"] == usage["replies"] + sum(usage["causes"].values())
    assert usage["replies"] == len(server.attempts)


def check_chains(found: dict, rows: list[dict]) -> None:
    """Each chain is there once, valid, and the one of its own history."""
    assert (
        len(rows) == found["chains"] == len({(row["user"], row["prefix_length"]) for row in rows})
    )
    assert found["outcomes"] == {"valid": len(rows), "mended": 0, "rejected": 0, "unanswered": 0}
    by_history = {row["history"]: (row["steps"], row["recommendations"]) for row in rows}
    assert all((row["steps"], row["recommendations"]) == by_history[row["history"]] for row in rows)
    words = {recommendations[0] for _, recommendations in by_history.values()}
    assert len(words) == len(by_history)
    assert all([step["role"] for step in row["steps"]] == ["likes", "needs"] for row in rows)


def test_what_cannot_be_mended_is_counted_and_can_be_asked_again(tmp_path):
    kinds = ("ok", "prose", "prose at first", "500")

    def kind(prompt: str) -> str:
        return kinds[int(digest(prompt), 16) % 4]

    def reply(prompt: str, attempt: int) -> str:
        again = "could not be used" in prompt
        return (
            "No."
            if kind(prompt) == "prose" or (kind(prompt) == "prose at first" and not again)
            else chain_text(prompt)
        )

    broken = True
    with ScriptedServer(
        lambda prompt, attempt: "500" if broken and kind(prompt) == "500" else "ok", reply
    ) as server:
        given = arguments(
            tmp_path, tmp_path / "out", *asking(server, "--attempts", "2", "--write", "retries=1")
        )
        found = reason(given)
        rows = rows_of(tmp_path / "out")
        ended = {
            "ok": "valid",
            "prose": "rejected",
            "prose at first": "mended",
            "500": "unanswered",
        }
        by_reason = {
            outcome: {row["reason"] for row in rows if row["outcome"] == outcome}
            for outcome in ended.values()
        }
        assert all(found["outcomes"].values())
        assert sum(found["outcomes"].values()) == len(rows)
        assert by_reason["valid"] == {""}
        assert (
            by_reason["mended"]
            == by_reason["rejected"]
            == {
                "the reply holds no complete JSON object with the keys steps and "
                "recommendations, each once"
            }
        )
        assert all("the server gave no usable reply" in text for text in by_reason["unanswered"])
        assert not any(server.base_url in text for text in by_reason["unanswered"])
        assert all(
            count % 2 == 0 for prompt, count in server.attempts.items() if kind(prompt) == "500"
        )  # two attempts each
        assert all(bool(row["steps"]) == (row["outcome"] in ("valid", "mended")) for row in rows)
        broken = False
        calls = server.attempts.total()
        assert reason(given)["outcomes"] == found["outcomes"]
        assert server.attempts.total() == calls
        healed = reason([*given, "--retry-unanswered"])["outcomes"]
        assert healed == {
            **found["outcomes"],
            "valid": found["outcomes"]["valid"] + found["outcomes"]["unanswered"],
            "unanswered": 0,
        }


def test_a_token_budget_stops_and_a_further_run_goes_on(tmp_path):
    each = PROMPT_TOKENS + COMPLETION_TOKENS
    with ScriptedServer(lambda prompt, attempt: "ok", well) as server:
        given = asking(server, "--concurrency", "2", "--shard-rows", "8", "--limit", "40")
        whole = arguments(tmp_path, tmp_path / "whole", *given)
        reason(whole)
        calls = server.attempts.total()
        server.attempts.clear()
        part = arguments(tmp_path, tmp_path / "part", *given)
        status, _, err = run_here(*part, "--token-budget", str(20 * each))
        assert status == 1
        assert "token_budget = 200 is spent" in err
        assert 20 <= server.attempts.total() <= 21
        assert not (tmp_path / "part" / "finished.json").exists()
        reason(part)
        assert server.attempts.total() == calls
        assert max(server.attempts.values()) == 1
    assert bytes_of(tmp_path / "part") == bytes_of(tmp_path / "whole")


def test_a_forecast_is_what_the_job_then_takes(tmp_path):
    with ScriptedServer(lambda prompt, attempt: "ok", well) as server:
        given = arguments(tmp_path, tmp_path / "out", *asking(server, "--prices", "1000000", "0"))
        status, _, err = run_here(*given, "--forecast")
        assert status == 0
        assert not (tmp_path / "out" / "job.json").exists()
        found = reason(given)
    asked = sum(
        len(message["content"]) // 4 + 1 for body in server.bodies for message in body["messages"]
    )
    line = next(line for line in err.splitlines() if line.startswith("forecast: "))
    chains, calls, tokens = (
        line.removeprefix("forecast: ").split(", about ")[0],
        line.split("about ")[1].split(" calls")[0],
        line,
    )
    assert chains == f"{found['chains']:,} chains"
    assert int(calls) == found["chains"]
    assert f"{int(calls):,} calls" in tokens
    prompt_tokens = int(line.split("calls, ")[1].split(" + ")[0].replace(",", ""))
    assert (
        abs(prompt_tokens - asked) <= 0.1 * asked
    )  # equal histories are asked once, and forecast twice
    assert "price at most" in line


def test_a_batch_file_out_and_in_gives_what_a_server_gives(tmp_path):
    rng = random.Random(3)

    def reply(prompt: str, attempt: int) -> str:
        again = "could not be used" in prompt
        return "No." if int(digest(prompt), 16) % 3 == 0 and not again else chain_text(prompt)

    with ScriptedServer(lambda prompt, attempt: "ok", reply) as server:
        reason(arguments(tmp_path, tmp_path / "online", *asking(server, "--limit", "40")))
    offline = arguments(tmp_path, tmp_path / "offline", "--language-model", "any", "--limit", "40")
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    count = reason([*offline, "--export-batch", first])["exported"]
    asked = [json.loads(line) for line in first.read_text().splitlines()]
    assert count == len(asked) == len({line["custom_id"] for line in asked})
    assert {line["url"] for line in asked} == {"/v1/chat/completions"}
    bodies = {json.dumps(body, sort_keys=True) for body in server.bodies}
    assert {json.dumps(line["body"], sort_keys=True) for line in asked} <= bodies

    answers = [answer(line, reply) for line in asked]
    left_out, failed = (
        answers[0],
        {**answers[1], "response": None, "error": {"message": "overloaded"}},
    )
    twice = {**answers[2], "response": answers[3]["response"]}
    strange = {**answers[4], "custom_id": "0" * 64}
    lines = [json.dumps(line) for line in [*answers[2:], failed, strange]]
    rng.shuffle(lines)
    lines = [*lines, json.dumps(twice), '{"custom_id": "cut', "[1]", ""]
    (tmp_path / "replies.jsonl").write_text("\n".join(lines))
    found = reason([*offline, "--import-batch", tmp_path / "replies.jsonl"])
    mends = sum(
        int(digest(line["body"]["messages"][-1]["content"]), 16) % 3 == 0 for line in asked[2:]
    )
    expected = {
        "lines": len(lines) - 1,
        "imported": count - 2,
        "duplicates": 1,
        "errors": 1,
        "malformed": 2,
        "unknown": 1,
        "first_error": "overloaded",
    }
    assert found["import"] == {**expected, "missing": 2 + mends}
    assert found["outcomes"]["unanswered"] > 0

    assert reason([*offline, "--export-batch", second])["exported"] == 2 + mends
    again = [json.loads(line) for line in second.read_text().splitlines()]
    assert {left_out["custom_id"], failed["custom_id"]} < {line["custom_id"] for line in again}
    while again:  # those that were lost may have to be mended as well
        (tmp_path / "more.jsonl").write_text(
            "\n".join(json.dumps(answer(line, reply)) for line in again)
        )
        found = reason([*offline, "--import-batch", tmp_path / "more.jsonl"])
        reason([*offline, "--export-batch", second])
        again = [json.loads(line) for line in second.read_text().splitlines()]
    assert not again
    assert bytes_of(tmp_path / "offline") == bytes_of(tmp_path / "online")


def answer(line: dict, reply) -> dict:
    message = {"role": "assistant", "content": reply(line["body"]["messages"][-1]["content"], 0)}
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    return {
        "id": "x",
        "custom_id": line["custom_id"],
        "response": {"status_code": 200, "body": body},
        "error": None,
    }


REFUSED = (
    "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
)


def body_of(text: str | None, **message: object) -> str:
    return json.dumps({"choices": [{"message": {"content": text, **message}}]})


@pytest.mark.parametrize("limit", ["3", "40"])
def test_a_server_that_refuses_everything_is_left_and_the_job_goes_on_once_it_is_mended(
    limit, tmp_path
):
    def plan(prompt: str, attempt: int) -> str:
        return "raw" if "max_completion_tokens" in server.bodies[-1] else "400"

    def reply(prompt: str, attempt: int) -> str:
        return body_of(chain_text(prompt))

    with ScriptedServer(plan, reply, refusal=REFUSED) as server:
        shards = ("--shard-rows", "2", "--concurrency", "1")
        given = arguments(tmp_path, tmp_path / "out", *asking(server, "--limit", limit, *shards))
        status, out, err = run_here(*given)
        assert (status, out) == (1, "")
        assert err.count("is not supported") == 1
        assert "Pass --token-limit max_completion_tokens" in err
        assert server.attempts.total() <= 7
        assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["job.json"]
        found = reason([*given, "--token-limit", "max_completion_tokens"])
    assert found["outcomes"] == {"valid": int(limit), "mended": 0, "rejected": 0, "unanswered": 0}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            {"reasoning_content": "so"},
            "the content is empty, and the text is in `reasoning_content`",
        ),
        ({"tool_calls": [{"id": "1"}]}, "the answer is a tool call; serve the model without tools"),
        ({"refusal": "I cannot help."}, "the model refuses: 'I cannot help.'"),
    ],
)
def test_an_answer_that_stands_elsewhere_is_named_on_the_console(message, said, tmp_path):
    with ScriptedServer(lambda *_: "raw", lambda *_: body_of(None, **message)) as server:
        status, _, err = run_here(
            *arguments(tmp_path, tmp_path / "out", *asking(server, "--limit", "3"))
        )
    assert status == 1
    assert err.count(said) == 1
    assert not (tmp_path / "out" / "finished.json").exists()


def test_why_chains_are_missing_is_said_once(tmp_path):
    def reply(prompt: str, attempt: int) -> str:
        return chain_text(prompt) if int(digest(prompt), 16) % 2 else "No."

    with ScriptedServer(lambda *_: "ok", reply) as server:
        more = asking(server, "--write", "retries=0", "--limit", "12")
        status, out, err = run_here(*arguments(tmp_path, tmp_path / "out", *more))
        lost = json.loads(out)["outcomes"]["rejected"]
        assert status == 0
        assert (
            f"{lost} of 12 chains could not be written; {lost} times because the reply holds no"
            in err
        )
        nothing = asking(server, "--write", "retries=0", "--limit", "12", "--attempts", "1")
        server.reply = lambda *_: "<think>Hmm"
        status, out, err = run_here(*arguments(tmp_path, tmp_path / "none", *nothing))
    assert (status, out) == (1, "")
    assert "12 of 12 chains could not be written; 12 times because the reply holds thoughts" in err


def test_thoughts_and_absent_counts_cost_no_chain(tmp_path):
    def reply(prompt: str, attempt: int) -> str:
        draft = chain_text("another history")
        return body_of(f"<think>{draft}</think>{chain_text(prompt)}")

    with ScriptedServer(lambda *_: "raw", reply) as server:
        given = asking(server, "--limit", "8", "--concurrency", "1")
        status, out, err = run_here(*arguments(tmp_path, tmp_path / "out", *given))
    assert status == 0
    check_chains(json.loads(out), rows_of(tmp_path / "out"))
    assert err.count("the server did not count the tokens") == 1


def offline(tmp_path, *more) -> list[str]:
    return arguments(tmp_path, tmp_path / "out", "--language-model", "any", "--limit", "6", *more)


def failed_line(key: str, words: str) -> str:
    response = {"status_code": 400, "body": {"object": "error", "message": words}}
    return json.dumps({"id": "r", "custom_id": key, "response": response, "error": None})


def test_a_batch_for_newer_models_names_their_field(tmp_path):
    asked = tmp_path / "asked.jsonl"
    reason(offline(tmp_path, "--export-batch", asked, "--token-limit", "max_completion_tokens"))
    for line in asked.read_text().splitlines():
        assert json.loads(line)["body"]["max_completion_tokens"] > 100  # what a whole reply needs
        assert "max_tokens" not in json.loads(line)["body"]
    status, _, err = run_here(*offline(tmp_path, "--export-batch", asked / "below" / "a.jsonl"))
    assert status == 1
    assert f"{asked / 'below' / 'a.jsonl'} cannot be written" in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; pass what the batch service"),
        (b"\n\n", "is empty"),
        (gzip.compress(b""), "is empty"),
        (b"user,item\nann,a\n",
            "2 malformed, 0 unknown, 6 missing; the first strange line: b'user,item"),
        (failed_line("x", "max len").encode(),
            "1 errors, 0 malformed, 0 unknown, 6 missing; the first error: max len"),
        (gzip.compress(failed_line("x", "max len").encode()), "the first error: max len"),
        (gzip.compress(failed_line("x", "y").encode() * 50)[:40], "cannot be read"),
        (json.dumps({"custom_id": "0" * 64,
            "response": {"body": json.loads(body_of("x"))}}).encode(), "1 unknown"),
        (b"PK\x03\x04 a zip file", "1 malformed"),
    ],
    ids=["empty", "blank", "empty, packed", "CSV", "errors", "errors, packed", "cut", "foreign",
        "zip"],
)  # fmt: skip
def test_an_import_of_nothing_is_an_error(content, said, tmp_path):
    (tmp_path / "replies.jsonl").write_bytes(content)
    status, out, err = run_here(*offline(tmp_path, "--import-batch", tmp_path / "replies.jsonl"))
    assert (status, out) == (1, "")
    assert f"--import-batch {tmp_path / 'replies.jsonl'}" in err
    assert said in err


def test_a_packed_batch_file_is_read_and_may_come_twice(tmp_path):
    asked, replies = tmp_path / "asked.jsonl", tmp_path / "replies"
    reason(offline(tmp_path, "--export-batch", asked))
    lines = [json.loads(line) for line in asked.read_text().splitlines()]
    good = [json.dumps(answer(line, well)) for line in lines[1:]]
    elsewhere = json.dumps(answer(lines[0], lambda *_: "")).replace(
        '"content": ""', '"refusal": "No."'
    )
    replies.write_bytes(gzip.compress("\n".join([elsewhere, *good]).encode()))
    for imported in (len(good), 0):
        found = reason(offline(tmp_path, "--import-batch", replies))
        assert found["import"]["imported"] == imported
        assert "the model refuses: 'No.'" in found["import"]["first_error"]
        assert found["outcomes"]["unanswered"] == 6 - found["outcomes"]["valid"] > 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ("--language-model", "any"),
            "--language-model any needs the address of its server: --base-url",
        ),
        (
            ("--prefixes", "anchors:0"),
            "prefixes = 'anchors:0'; use every, anchors, anchors:K or anchors:K:M",
        ),
        (("--prefixes", "anchors:999"), "prefixes = anchors:999: no user has a prefix that long"),
        (("--users", "999"), "users = 999; this dataset has 24 users"),
        (("--write", "max_tokens=9"), "--write is for a language model"),
        (("--export-batch", "x.jsonl"), "--export-batch is for a language model"),
        (("--pattern", "absent.json"), "--pattern absent.json cannot be read"),
    ],
)
def test_a_user_learns_what_to_change(more, said, tmp_path):
    status, _, err = run_here(*arguments(tmp_path, tmp_path / "out", *more))
    assert status == 1
    assert said in err


def test_a_folder_takes_one_job_only(tmp_path):
    given = [
        "reason",
        "simulated",
        "--set",
        "data.simulated.users=12",
        "--store",
        tmp_path / "store",
        "--out",
        tmp_path / "out",
    ]
    assert run_here(*given, "--limit", "10")[0] == 0
    for other, said in (
        (("--limit", "9"), "chains is 10 there and 9 here; give this job a folder of its own"),
        (("--limit", "10", "--shard-rows", "4"), "shard_rows is 1024 there and 4 here"),
        (("--limit", "9", "--forecast"), "chains is 10 there and 9 here"),
    ):
        status, _, err = run_here(*given, *other)
        assert (status, "holds chains of another job" in err) == (1, True)
        assert said in err or said.replace("chains is 10", "limit is 10") in err


@pytest.mark.parametrize("rows", ["3", "1024"])
def test_a_job_may_grow_and_nothing_is_asked_twice(rows: str, tmp_path: Path) -> None:
    with ScriptedServer(lambda *_: "ok", lambda prompt, _: chain_text(prompt)) as server:
        more = asking(server, "--shard-rows", rows)
        for limit in ("4", "10"):
            given = arguments(tmp_path, tmp_path / "out", *more, "--limit", limit)
            assert (
                f"about {int(limit) - len(server.attempts)} calls"
                in run_here(*given, "--forecast")[2]
            )
            assert reason(given)["outcomes"]["valid"] == int(limit)
        assert (len(server.attempts), set(server.attempts.values())) == (10, {1})
        reason(arguments(tmp_path, tmp_path / "whole", *more, "--limit", "10"))
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


@pytest.mark.parametrize("death", ["hang up", "503"])
def test_a_server_that_dies_leaves_a_job_that_goes_on(death: str, tmp_path: Path) -> None:
    def plan(prompt: str, attempt: int) -> str:
        return "ok" if alive or len(server.attempts) <= 14 else death

    alive = False
    with ScriptedServer(plan, lambda prompt, _: chain_text(prompt)) as server:
        asked = asking(server, "--limit", "40", "--attempts", "2", "--first-pause", "0.001")
        given = arguments(tmp_path, tmp_path / "out", *asked, "--concurrency", "2")
        status, _, err = run_here(*given)
        assert status == 1
        assert "5 requests in a row got no reply (run again to go on)" in err
        assert not (tmp_path / "out" / "finished.json").exists()
        assert len(server.attempts) <= 14 + 5 + 4
        alive = True
        assert reason(given)["outcomes"]["valid"] == 40
