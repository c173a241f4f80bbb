"""The web application as a Hugging Face Space: assembles what the Space needs, and uploads it.

    python -m demo.space build/space                           assemble
    python -m demo.space build/space --push owner/name         assemble and upload, with a token
"""

from __future__ import annotations

import argparse
import ast
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nrknet.hub import check_push, upload
from nrknet.repository import check_repository

ROOT = Path(__file__).parent.parent
REQUIREMENTS = (
    "torch", "numpy", "pillow", "tifffile", "imagecodecs", "safetensors", "huggingface-hub", "tqdm", "scikit-image",
    "scipy",
)  # fmt: skip
"""What app.py needs beside Gradio, which the Space installs by `sdk_version`, together with `spaces`."""
PACKAGES = ("g++",)
"""Debian's: the kernels of nrknet/fast are compiled on the Space."""
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_HTML_PICTURE = re.compile(r'<img[^>]*\bsrc="([^"]+)"')


def assemble(folder: Path, *, models: Sequence[str] = ()) -> list[Path]:
    """Write everything that the Space needs into a folder, and nothing else.

    Args:
        folder: new, empty, or an earlier Space, which is replaced.
        models: networks on the Hub, "owner/name", that the Space's page names.

    Returns:
        The files, relative to the folder.

    Raises:
        ValueError: something else is in the folder, or a model has a name that no repository can have.
    """
    for model in models:
        check_repository(model)
    if folder.exists() and not _is_replaceable(folder):
        raise ValueError(f"{folder} holds something else than a Space; expected a new or an empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".space-") as temporary:
        new = Path(temporary) / "space"
        _write(new, models)
        if folder.exists():
            shutil.rmtree(folder)
        new.rename(folder)
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def _is_replaceable(folder: Path) -> bool:
    if not folder.is_dir() or (folder / ".git").exists():
        return False
    return not any(folder.iterdir()) or (folder / "packages.txt").is_file() and (folder / "app.py").is_file()


def _write(folder: Path, models: Sequence[str]) -> None:
    modules = [ROOT / "app.py", *demo_modules(ROOT / "app.py")]
    package = [path for path in sorted((ROOT / "nrknet").rglob("*")) if path.is_file() and not _is_litter(path)]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = [ROOT / name for name in pictures_of(readme)]
    for path in (*modules, *package, *pictures, ROOT / "LICENSE"):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    included = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    (folder / "README.md").write_text(_page(readme, models, included), encoding="utf-8")
    (folder / "requirements.txt").write_text(_requirements(), encoding="utf-8")
    (folder / "packages.txt").write_text("".join(f"{name}\n" for name in PACKAGES), encoding="utf-8")


def _is_litter(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    return hidden or "__pycache__" in path.parts or path.suffix in (".pyc", ".part")


def demo_modules(start: Path) -> list[Path]:
    """The files of the package demo that a file imports, directly or through one another, and the data beside them."""
    found: dict[Path, None] = {}
    waiting = [start]
    while waiting:
        new = [path for name in _imports(waiting.pop()) for path in _files_of(name) if path not in found]
        found.update(dict.fromkeys(new))
        waiting += new
    data = (path for folder in {path.parent for path in found} for path in folder.iterdir() if path.is_file())
    return sorted({*found, *(path for path in data if path.suffix not in (".py", ".pyi") and not _is_litter(path))})


def _files_of(name: str) -> list[Path]:
    """What Python reads to import a module or a package: of every package on the way its __init__.py."""
    parts = name.split(".")
    packages = [ROOT.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    return [path for path in (*packages, ROOT.joinpath(*parts).with_suffix(".py")) if path.is_file()]


def _imports(path: Path) -> list[str]:
    """Names below demo that a file imports; of `from demo import x` both readings of x."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.startswith("demo.")]


def pictures_of(readme: str) -> list[str]:
    """Paths of the pictures that a README shows from its own repository."""
    shown = [match[3] for match in _LINK.finditer(readme) if match[1]] + _HTML_PICTURE.findall(readme)
    return [path for path in dict.fromkeys(shown) if "://" not in path]


def _page(readme: str, models: Sequence[str], included: set[str]) -> str:
    """The README for the Space: names its models, and links to no file that is not there."""
    head, end, body = readme.removeprefix("---\n").partition("\n---\n")
    named = "".join(f"\n  - {model}" for model in models)

    def keep(match: re.Match[str]) -> str:
        target = match[3].partition("#")[0].rstrip("/")
        there = "://" in match[3] or match[3].startswith(("#", "mailto:")) or target in included
        return match[0] if there else match[2]

    return f"---\n{head}{f'{chr(10)}models:{named}' if named else ''}{end}{_LINK.sub(keep, body)}"


def _requirements() -> str:
    """The lines of requirements.txt that the Space needs."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    by_name = {re.split(r"[^\w.-]", line)[0].lower(): line for line in lines if line and not line.startswith("#")}
    return "".join(f"{by_name[name]}\n" for name in REQUIREMENTS)


def push(folder: Path, files: Sequence[Path], repo: str, *, private: bool = False) -> str:
    """Upload an assembled Space in one commit; what is there and no part of it any more is removed.

    Args:
        folder: as `assemble` wrote it.
        files: what it returned.
        repo: "owner/name"; made, as a Gradio Space, when missing.
        private: make a new Space private.

    Returns:
        The Space's address.

    Raises:
        ValueError: the Hub refuses or cannot be reached; one line.
    """
    contents: dict[str, Path | bytes] = {path.as_posix(): folder / path for path in files}
    try:
        return upload(contents, repo, private=private, message="Update the Space", space=True)
    except ValueError as error:
        raise ValueError(f"the Space could not be pushed to {repo} on the Hugging Face Hub: {error}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Assemble, and upload where that was asked. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo.space", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to assemble; an earlier Space is replaced")
    parser.add_argument("--push", metavar="OWNER/NAME", help="upload it there; made if need be")
    parser.add_argument("--private", action="store_true", help="make a Space that only its owner sees")
    parser.add_argument(
        "--models", nargs="+", default=[], metavar="OWNER/NAME", help="networks on the Hub that its page names"
    )
    args = parser.parse_args(argv)
    try:
        if args.push is not None:
            check_push(args.push)
        files = assemble(args.folder, models=args.models)
        size = sum((args.folder / path).stat().st_size for path in files) / 1e6
        print(f"{args.folder} holds the Space: {len(files)} files, {size:.1f} MB; try it with")
        print(f"    cd {args.folder} && python app.py")
        if args.push is None:
            print("and upload it with\n    make space SPACE=owner/name        (after `hf auth login`)")
        else:
            print(f"the Space is at {push(args.folder, files, args.push, private=args.private)}")
    except (ValueError, OSError) as error:
        print(f"space: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
