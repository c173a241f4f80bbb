"""What the project depends on: bounds that can be installed, licences that are listed, and no call home."""

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from benchmarks.reliability import supply

ROOT = Path(__file__).parent.parent
PROJECT = supply.requirements()
DECLARED = [
    (extra, requirement)
    for extra, listed in PROJECT.items()
    for requirement in listed
    if canonicalize_name(requirement.name) != "nrknet"
]


def required_by_file() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def ends(requirement: Requirement) -> list[Version]:
    return [Version(part.version) for part in requirement.specifier if part.operator in ("<", "<=")]


# ------------------------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize(("extra", "requirement"), DECLARED, ids=lambda part: str(part))
def test_every_dependency_has_a_lower_and_one_upper_bound(extra: str, requirement: Requirement) -> None:
    assert {part.operator for part in requirement.specifier} == {">=", "<"}
    (end,) = ends(requirement)
    assert len(end.release) == 1  # a whole version


def test_a_dependency_has_the_same_bounds_everywhere() -> None:
    found: dict[str, set[str]] = {}
    for requirement in [*(r for _, r in DECLARED), *required_by_file()]:
        found.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    assert {name: bounds for name, bounds in found.items() if len(bounds) > 1} == {}
    declared = {canonicalize_name(requirement.name) for _, requirement in DECLARED}
    assert {canonicalize_name(requirement.name) for requirement in required_by_file()} <= declared
    core = {canonicalize_name(r.name) for extra in ("", "app", "train") for r in PROJECT[extra]}
    assert core <= {canonicalize_name(requirement.name) for requirement in required_by_file()}


@pytest.mark.parametrize(("extra", "requirement"), DECLARED, ids=lambda part: str(part))
def test_what_is_installed_lies_within_the_bounds_and_they_end_at_the_next_major_version(
    extra: str, requirement: Requirement
) -> None:
    try:
        version = Version(metadata.version(requirement.name))
    except metadata.PackageNotFoundError:
        pytest.skip(f"{requirement.name} is not installed")
    assert requirement.specifier.contains(version, prereleases=True)
    (end,) = ends(requirement)
    if version.major >= 2000:  # numbered by years
        assert end.major == 2028
    else:
        assert end.major <= version.major + 1


@pytest.mark.slow
def test_the_newest_versions_within_the_bounds_can_be_installed_together(tmp_path: Path) -> None:
    asked = [str(r) for extra in ("", "app") for r in PROJECT[extra]]
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report"]
    done = subprocess.run([*command, str(report), *asked], cwd=tmp_path, capture_output=True, text=True)
    if done.returncode and re.search(r"connection|resolve host|Name or service|timed out|Network", done.stderr, re.I):
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    found = {canonicalize_name(part["metadata"]["name"]): part["metadata"]["version"]
             for part in json.loads(report.read_text())["install"]}  # fmt: skip
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(found[canonicalize_name(requirement.name)], prereleases=True)


# ----------------------------------------------------------------------------------------------------------- licences


def listed() -> dict[str, str]:
    """Distribution -> licence, as the page has them."""
    page = supply.LICENCES.read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w.-]+) \|[^|]*\|[^|]*\| (.+) \|$", page, re.MULTILINE)
    return {name: licence for name, licence in rows if name != "distribution"}


@pytest.mark.parametrize("extra", ["", "app"])
def test_the_page_of_licences_names_every_distribution_that_is_brought(extra: str) -> None:
    # those of PyTorch's build with CUDA, and of other platforms, are not on the page, which says so
    brought = {name for name in supply.tree(extra) if not re.match(r"nvidia-|cuda-|triton", name)}
    assert len(brought) > 10 and brought - listed().keys() == set()


def test_no_licence_is_unknown_and_copyleft_is_pointed_out() -> None:
    page, found = supply.LICENCES.read_text(encoding="utf-8"), listed()
    assert [name for name, licence in found.items() if "not stated" in licence or not licence.strip()] == []
    copyleft = {name for name, licence in found.items() if supply.COPYLEFT.search(licence)}
    assert copyleft and all(f"\n- {name}: {found[name]}\n" in page for name in copyleft)
    assert not [name for name, licence in found.items() if re.search(r"\bA?GPL", licence) and "LGPL" not in licence]


# -------------------------------------------------------------------------------------------------------------- audit


def audited(monkeypatch: pytest.MonkeyPatch, dependencies: list[dict[str, object]]) -> dict[str, object]:
    answer = subprocess.CompletedProcess([], 0, json.dumps({"dependencies": dependencies}), "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    return supply.audit()


def test_what_the_advisory_service_does_not_know_does_not_count_as_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    # pip-audit says "No known vulnerabilities found", and exits with 0, where it could look none of them up
    unknown = {"name": "a", "skip_reason": "Dependency not found on PyPI and could not be audited: a (1)"}
    good, bad = {"name": "b", "vulns": []}, {"name": "c", "vulns": [{"id": "PYSEC-1"}]}
    assert audited(monkeypatch, [unknown])["clean"] is False
    assert audited(monkeypatch, [good, unknown])["clean"] is False
    assert audited(monkeypatch, [good])["clean"] is True
    found = audited(monkeypatch, [good, bad])
    assert found["clean"] is False and found["vulnerable"] == {"c": ["PYSEC-1"]} and found["audited"] == 2


# -------------------------------------------------------------------------------------------------- nobody is called

PRELUDE = """
import os, socket, sys
attempts = []
def local(address):
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(host, bytes):
        host = host.decode()
    return host is None or host in ("", "localhost", "::1", "0.0.0.0") or str(host).startswith(("127.", "/", "\\0"))
def audit(event, arguments):
    if event == "socket.getaddrinfo" and not local(arguments[:1]):
        attempts.append((event, str(arguments[0])))
    elif event in ("socket.connect", "socket.sendto") and not local(arguments[1]):
        attempts.append((event, str(arguments[1])))
    elif event in ("socket.gethostbyname",) and not local(arguments[:1]):
        attempts.append((event, str(arguments[0])))
    else:
        return
    raise OSError(f"this test forbids {event} to {arguments}")
sys.addaudithook(audit)  # for every thread, and whatever library asks
"""
EVERYTHING = """
import importlib, pkgutil
import nrknet
for module in pkgutil.walk_packages(nrknet.__path__, "nrknet."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
import benchmarks.reliability.supply
import demo.plots, demo.restorer
"""
APP = """
import time, urllib.request
import app
_, url, _ = app.demo.launch(**app.LAUNCH, prevent_thread_lock=True, quiet=True)
page = urllib.request.urlopen(url).read().decode()
assert "NRKNet" in page, page[:300]
# not by gradio_client, which asks the Hugging Face Hub by itself who it is used by
assert "named_endpoints" in urllib.request.urlopen(url + "gradio_api/info").read().decode()
time.sleep(2)  # for threads that would ask later
app.demo.close(verbose=False)
"""
ANALYSIS = """
from streamlit.testing.v1 import AppTest
assert not AppTest.from_file("demo/analysis.py", default_timeout=300).run().exception
"""


def attempts(program: str) -> list[object]:
    """What a program asked for on other machines."""
    ending = "\nprint('ATTEMPTS', __import__('json').dumps(attempts), flush=True)\nos._exit(0)\n"
    environment = {k: v for k, v in os.environ.items() if k not in ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program + ending], cwd=ROOT, capture_output=True, text=True,
        env={**environment, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    found = re.search(r"^ATTEMPTS (.*)$", done.stdout, re.MULTILINE)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(found[1])


def test_a_call_to_another_machine_would_be_noticed() -> None:
    called = "import urllib.request\ntry: urllib.request.urlopen('http://example.com')\nexcept OSError: pass\n"
    assert attempts(called) == [["socket.getaddrinfo", "example.com"]]


def test_importing_every_module_calls_nobody() -> None:
    assert attempts(EVERYTHING) == []


@pytest.mark.slow
@pytest.mark.parametrize("program", [APP, ANALYSIS], ids=["app", "analysis"])
def test_the_apps_start_and_answer_without_calling_anybody(program: str) -> None:
    assert attempts(program) == []
