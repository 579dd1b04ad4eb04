"""What a release promises to strangers: one version, a lock that agrees, pages that are there."""

import re
import tomllib
from pathlib import Path

import yaml

import scoter

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())
LOCKED: dict[str, set[str]] = {}
for package in LOCK["package"]:
    LOCKED.setdefault(package["name"], set()).add(package["version"])


def plain(name: str) -> str:
    """A package's name as the index normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_one_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    cited = re.search(r"@software\{.*?version = \{(.*?)\}", (ROOT / "README.md").read_text(), re.S)
    assert cited
    assert PROJECT["version"] == scoter.__version__ == str(citation["version"]) == cited[1]
    assert f"\n## {PROJECT['version']}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_the_citation_has_what_its_format_asks_for() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "license"} <= citation.keys()
    assert citation["license"] == PROJECT["license"]
    (paper,) = citation["references"]
    assert len(paper["authors"]) == 10


def test_the_lock_agrees_with_the_project() -> None:
    (own,) = (package for package in LOCK["package"] if package["name"] == "scoter")
    declared = {plain(re.split(r"[^\w.-]", line)[0]) for line in PROJECT["dependencies"]}
    locked = {each["name"] for each in own["metadata"]["requires-dist"] if "marker" not in each}
    assert declared == locked, "run: make lock"
    for extra, lines in PROJECT["optional-dependencies"].items():
        declared = {plain(re.split(r"[^\w.-]", line)[0]) for line in lines}
        marker = f"extra == '{extra}'"
        found = own["metadata"]["requires-dist"]
        assert declared == {e["name"] for e in found if e.get("marker") == marker}, "run: make lock"
    extras = PROJECT["optional-dependencies"].values()
    wanted = [*PROJECT["dependencies"], *(line for lines in extras for line in lines)]
    specifiers = {plain(re.split(r"[^\w.-]", line)[0]): line for line in wanted}
    for each in own["metadata"]["requires-dist"]:
        assert each.get("specifier", "") in specifiers[each["name"]], "run: make lock"
    assert own["version"] == PROJECT["version"]
    assert LOCK["requires-python"] == PROJECT["requires-python"]


def test_the_lock_has_the_versions_that_make_setup_installs() -> None:
    lines = (ROOT / "constraints.txt").read_text().split()
    pinned = {plain(name): version for name, version in (line.split("==") for line in lines)}
    others = {
        name: (version, LOCKED[name])
        for name, version in pinned.items()
        if name in LOCKED and version not in LOCKED[name]
    }
    assert not others, "run: make lock"


def test_everything_that_is_locked_has_a_hash_and_a_public_address() -> None:
    text = (ROOT / "uv.lock").read_text()
    hosts = set(re.findall(r"https?://([^/\"]+)", text))
    assert hosts <= {"pypi.org", "files.pythonhosted.org"}
    for package in LOCK["package"]:
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert all(file["hash"].startswith("sha256:") for file in files)
        assert files or package["source"] == {"editable": "."}


def test_the_lock_for_pip_is_the_same_and_has_hashes() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    entries = re.split(r"\n(?=[a-z0-9])", text.partition("\n#    uv export")[2])[1:]
    assert len(entries) > 100
    for entry in entries:
        name, version = re.match(r"([\w.-]+)==([^ ;]+)", entry).groups()
        assert version in LOCKED[name], "run: make lock"
        assert "--hash=sha256:" in entry


def test_public_checks_call_the_same_script_and_the_container_the_two_commands() -> None:
    flow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps = [step.get("run", "") for job in flow["jobs"].values() for step in job["steps"]]
    assert "bash .ci/run" in steps
    container = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^RUN make quickstart$(.|\n)*^RUN make test$", container, re.M)


def test_readme_is_read_in_two_minutes() -> None:
    assert (ROOT / "README.md").read_text().count("\n") <= 150
