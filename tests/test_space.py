"""The Space: its page's metadata is valid, it holds what app.py needs and nothing else, and it is uploaded as it is."""

import importlib.metadata
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from front_matter import front_matter_problems, read_front_matter
from hub_server import HubServer
from packaging.requirements import Requirement

from demo import space
from demo.space import REQUIREMENTS, ROOT, assemble, demo_modules, main, pictures_of

README = (ROOT / "README.md").read_text(encoding="utf-8")
NOT_NEEDED = ("streamlit", "plotly", "matplotlib", "accelerate", "tensorboard", "torchvision", "lpips", "ray", "onnx",
              "onnxruntime", "sphinx", "pytest", "benchmarks", "tests")  # fmt: skip


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build") / "space"
    assemble(folder)
    return folder


def requirements(path: Path) -> dict[str, Requirement]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {found.name: found for found in map(Requirement, lines)}


def files_in(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ---------------------------------------------------------------------------------------------------------------- page


def test_the_page_has_metadata_that_the_hub_takes() -> None:
    assert front_matter_problems(README, kind="space") == []
    metadata = read_front_matter(README)
    assert metadata["sdk"] == "gradio" and (ROOT / metadata["app_file"]).is_file()
    wanted = requirements(ROOT / "requirements.txt")["gradio"].specifier
    assert metadata["sdk_version"] in wanted and importlib.metadata.version("gradio") in wanted


BAD_METADATA = {
    "title": "3", "colorFrom": "teal", "sdk": "streamlit", "short_description": "x" * 61, "tags": "deblurring",
    "license": "mine", "python_version": "3", "models": "[nrknet]", "emoji": "camera", "colour": "red",
}  # fmt: skip


@pytest.mark.parametrize("key", BAD_METADATA)
def test_the_rules_find_a_fault(key: str) -> None:
    """Else the test above could not fail."""
    without = "\n".join(line for line in README.splitlines() if not line.startswith(f"{key}:"))
    broken = without.replace("---\n", f"---\n{key}: {BAD_METADATA[key]}\n", 1)
    assert any(key in problem or BAD_METADATA[key].strip("[]") in problem
               for problem in front_matter_problems(broken, kind="space"))  # fmt: skip


def test_the_page_names_the_models_that_it_is_told(tmp_path: Path) -> None:
    assemble(tmp_path / "space", models=["me/nrknet-lite", "me/nrknet"])
    page = (tmp_path / "space" / "README.md").read_text(encoding="utf-8")
    assert front_matter_problems(page, kind="space") == []
    assert read_front_matter(page) == {**read_front_matter(README), "models": ["me/nrknet-lite", "me/nrknet"]}
    with pytest.raises(ValueError, match="is no name of a repository"):
        assemble(tmp_path / "space", models=["nrknet"])


def test_the_page_shows_its_pictures_and_links_to_nothing_that_is_missing(assembled: Path) -> None:
    page = (assembled / "README.md").read_text(encoding="utf-8")
    assert pictures_of(page) == pictures_of(README) != []
    for target in re.findall(r"\]\(([^)#\s]+)\)", page):
        assert "://" in target or (assembled / target).exists(), target
    assert page.count("```") == README.count("```")


# --------------------------------------------------------------------------------------------------------------- files


def test_the_space_holds_what_app_py_needs_and_nothing_else(assembled: Path) -> None:
    found = files_in(assembled)
    assert {"app.py", "README.md", "LICENSE", "requirements.txt", "packages.txt", "demo/__init__.py"} <= set(found)
    assert "nrknet/pretrained/lite/model.safetensors" in found and "nrknet/fast/kernels/pixels.cpp" in found
    for name, content in found.items():
        if name.startswith("nrknet/") or name == "app.py":
            assert content == (ROOT / name).read_bytes()
    assert not [n for n in found if re.search(r"__pycache__|\.pyc$|^tests|^benchmarks|^notebooks|/\.|^\.", n)]
    needed = {path.relative_to(ROOT).as_posix() for path in demo_modules(ROOT / "app.py")}
    assert {name for name in found if name.startswith("demo/")} == needed
    assert not needed & {"demo/analysis.py", "demo/studio.py", "demo/space.py"}


def test_the_space_installs_what_the_package_and_the_app_need_and_leaves_gradio_to_the_sdk(assembled: Path) -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["app"]]
    needed = {Requirement(line).name for line in declared} - {"gradio"}
    assert set(requirements(assembled / "requirements.txt")) == needed == set(REQUIREMENTS)
    ours = requirements(ROOT / "requirements.txt")
    assert all(found == ours[name] for name, found in requirements(assembled / "requirements.txt").items())


def test_modules_and_packages_that_others_import_are_found_with_their_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demo" / "parts").mkdir(parents=True)
    (tmp_path / "demo" / "view").mkdir()
    (tmp_path / "demo" / "more").mkdir()
    for name, text in {
        "app.py": "import demo.a\nfrom demo import b, nothing\n",
        "demo/a.py": "def f() -> None:\n    from demo.parts.c import x\n",
        "demo/b.py": "from demo import a\n",
        "demo/parts/c.py": "import demo.b\nimport numpy\n",
        "demo/parts/c.css": "",
        "demo/parts/c.pyi": "",
        "demo/parts/unused.py": "",
        "demo/view/__init__.py": "from demo import a\n",
        "demo/__init__.py": "",
        "demo/parts/__init__.py": "from demo import view\n",
        "demo/unused.py": "",
        "demo/more/data.txt": "",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(space, "ROOT", tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in demo_modules(tmp_path / "app.py")]
    assert found == ["demo/__init__.py", "demo/a.py", "demo/b.py", "demo/parts/__init__.py", "demo/parts/c.css",
                     "demo/parts/c.py", "demo/view/__init__.py"]  # fmt: skip


def test_an_earlier_space_is_replaced_and_anything_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "space"
    folder.mkdir()
    assemble(folder)
    (folder / "left_over.py").write_text("")
    assemble(folder)
    assert not (folder / "left_over.py").exists()
    for number, name in enumerate(("thesis.tex", "app.py", ".git/config")):
        other = tmp_path / f"other{number}"
        (other / name).parent.mkdir(parents=True)
        (other / name).write_text("mine")
        with pytest.raises(ValueError, match="holds something else than a Space"):
            assemble(other)
        assert files_in(other) == {name: b"mine"}
    with pytest.raises(ValueError, match="holds something else than a Space"):
        assemble(ROOT)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other0", "other1", "other2", "space"]


# -------------------------------------------------------------------------------------------------------------- upload


def test_a_push_makes_a_gradio_space_and_a_second_one_removes_what_is_gone(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "space"
    assert main([str(folder), "--push", "me/app", "--models", "me/nrknet-lite"]) == 0
    assert f"the Space is at {hub.url}/spaces/me/app" in capsys.readouterr().out
    repository = hub.repositories["spaces/me/app"]
    assert repository.sdk == "gradio" and len(repository.commits) == 2
    pushed = dict(hub.files("me/app", kind="spaces"))
    assert pushed.pop(".gitattributes") and pushed == files_in(folder)
    repository.commit({**hub.files("me/app", kind="spaces"), "demo/old.py": b""}, "an old file")
    assert main([str(folder), "--push", "me/app", "--models", "me/nrknet-lite"]) == 0
    pushed = dict(hub.files("me/app", kind="spaces"))
    assert pushed.pop(".gitattributes") and pushed == files_in(folder)


@pytest.mark.parametrize(
    ("token", "repo", "said"),
    [("hf_write", "app", "no name of a repository"), ("", "me/app", "needs a token"), ("hf_read", "me/app", "may not")],
)
def test_a_push_that_cannot_work_is_one_line(
    hub: HubServer, token: str, repo: str, said: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", token)
    assert main([str(tmp_path / "space"), "--push", repo]) == 1
    error = capsys.readouterr().err
    assert error.startswith("space: ") and said in error and error.count("\n") == 1
    assert hub.repositories == {}


def test_without_a_name_it_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "space")]) == 0
    assert "make space SPACE=owner/name" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------------- running

IMPORT_APP = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {not_needed!r}:
            raise ImportError(f'{{name}} is not installed on the Space')
sys.meta_path.insert(0, Refuse())
import app
for name, module in list(sys.modules.items()):
    if name.partition('.')[0] in ('app', 'demo', 'nrknet') and getattr(module, '__file__', None):
        assert module.__file__.startswith(sys.argv[1]), module.__file__
assert 'nrknet.inference' in sys.modules
"""


def settings() -> dict[str, str]:
    """An environment in which nothing of this repository is on the path."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "OMP_NUM_THREADS": "1", "NRKNET_KERNELS": "off", "HF_HUB_OFFLINE": "1"}


@pytest.mark.slow
def test_app_py_is_imported_from_the_space_alone(assembled: Path) -> None:
    code = IMPORT_APP.format(not_needed=NOT_NEEDED)
    done = subprocess.run(
        [sys.executable, "-c", code, str(assembled)], cwd=assembled, env=settings(), capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture
def served(assembled: Path, tmp_path: Path) -> Iterator[str]:
    """The address of app.py, started as the Space starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(tmp_path)}
    with open(tmp_path / "log", "w+") as log, subprocess.Popen(
        [sys.executable, "app.py"], cwd=assembled, env={**settings(), **where}, stdout=log, stderr=log
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + 240
            while process.poll() is None and time.monotonic() < deadline:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.2)
            else:
                log.seek(0)
                pytest.fail(f"app.py did not start: {log.read()}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.mark.slow
def test_app_py_serves_its_page_from_the_space(served: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(served, timeout=60) as answer:
        page = answer.read().decode()
    assert answer.status == 200 and "NRKNet" in page and "gradio" in page
