"""What a stand-in of the Hugging Face Hub answers to each address: the status codes, headers and JSON of the Hub."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from front_matter import front_matter_problems
from hub_store import HubStore, Refusal, Repository

LARGE = (".safetensors", ".bin", ".png", ".jpg")
"""Files of these kinds are uploaded apart, and named in the commit by their hash."""


@dataclass
class Request:
    """What a route needs to know of a request."""

    hub: HubStore
    match: re.Match[str]
    body: bytes
    token: str | None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def repository(self) -> Repository:
        return self.hub.readable(self.key, self.token)

    @property
    def key(self) -> str:
        """ "models/owner/name": the addresses of models' files say no kind."""
        return f"{self.match['kind'] or 'models'}/{self.match['repo']}"

    @property
    def revision(self) -> str:
        named = self.match.groupdict().get("revision")
        return unquote(named) if named else "main"


@dataclass
class Answer:
    """A success: JSON, or a file."""

    content: Any
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200


def whoami(request: Request) -> Answer:
    user, role = request.hub.user(request.token)
    return Answer({"type": "user", "name": user, "orgs": [], "auth": {"accessToken": {"role": role}}})


def validate_yaml(request: Request) -> Answer:
    """Refuse metadata that the Hub would refuse."""
    problems = front_matter_problems(request.json["content"], kind=request.json["repoType"])
    return Answer({"errors": [{"message": p} for p in problems], "warnings": []}, status=400 if problems else 200)


def create(request: Request) -> Answer:
    wanted = request.json
    owner = wanted.get("organization") or request.hub.user(request.token)[0]
    request.hub.writable(owner, request.token)
    kind = f"{wanted.get('type') or 'model'}s"
    name, key = f"{owner}/{wanted['name']}", f"{kind}/{owner}/{wanted['name']}"
    address = f"{request.hub.url}/{'' if kind == 'models' else kind + '/'}{name}"
    if key in request.hub.repositories:
        raise Refusal(409, "", f"You already created this {kind[:-1]} repo", url=address)
    if kind == "spaces" and wanted.get("sdk") not in ("gradio", "docker", "static"):
        raise Refusal(400, "", "sdk is required")
    private = wanted.get("visibility") == "private" or wanted.get("private") is True
    repository = Repository(owner, private=private, sdk=wanted.get("sdk"))
    repository.commit({".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
    request.hub.repositories[key] = repository
    return Answer({"url": address, "id": name, "name": name})


def branch(request: Request) -> Answer:
    repository = request.repository
    request.hub.writable(repository.owner, request.token)
    if request.revision in repository.refs:
        raise Refusal(409, "", "Reference already exists")
    repository.refs[request.revision] = repository.at((request.json or {}).get("startingPoint") or "main").sha
    return Answer({})


def preupload(request: Request) -> Answer:
    """Say of every file how it is to be uploaded, and what is there of that name."""
    repository = request.repository
    request.hub.writable(repository.owner, request.token)
    there = repository.at(request.revision).files
    files = []
    for path in (file["path"] for file in request.json["files"]):
        large = path.endswith(LARGE)
        oid = None if path not in there else _sha256(there[path]) if large else _git_sha(there[path])
        files.append({"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid})
    return Answer({"files": files})


def lfs_batch(request: Request) -> Answer:
    request.hub.writable(request.repository.owner, request.token)
    objects = []
    for wanted in request.json["objects"]:
        upload = {"upload": {"href": f"{request.hub.url}/_lfs/{wanted['oid']}", "header": {}}}
        objects.append({**wanted, "authenticated": True, "actions": upload})
    return Answer({"transfer": "basic", "objects": objects}, {"Content-Type": "application/vnd.git-lfs+json"})


def lfs_upload(request: Request) -> Answer:
    if _sha256(request.body) != request.match["oid"]:
        raise Refusal(400, "", "the content is not what was announced")
    request.hub.blobs[request.match["oid"]] = request.body
    return Answer({})


def commit(request: Request) -> Answer:
    """All operations of a commit, or none."""
    repository = request.repository
    request.hub.writable(repository.owner, request.token)
    if request.revision not in repository.refs:
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {request.revision}")
    files, title = dict(repository.at(request.revision).files), ""
    for line in filter(None, request.body.splitlines()):
        operation = json.loads(line)
        key, value = operation["key"], operation["value"]
        if key == "header":
            title = value["summary"]
        elif key == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            files[value["path"]] = request.hub.blobs[value["oid"]]
        elif key == "deletedFile":
            if files.pop(value["path"], None) is None:
                raise Refusal(404, "EntryNotFound", "A file with this name doesn't exist")
        else:
            raise Refusal(400, "", f"no operation {key}")
    sha = repository.commit(files, title, request.revision)
    return Answer({"commitUrl": f"{request.hub.url}/{request.match['repo']}/commit/{sha}", "commitOid": sha})


def resolve(request: Request) -> Answer:
    found = request.repository.at(request.revision)
    path = unquote(request.match["path"])
    if path not in found.files:
        raise Refusal(404, "EntryNotFound", "Entry not found")
    content = found.files[path]
    headers = {"ETag": f'"{_sha256(content)}"', "X-Repo-Commit": found.sha, "X-Linked-Size": str(len(content))}
    return Answer(content, headers)


def tree(request: Request) -> Answer:
    files = request.repository.at(request.revision).files
    return Answer([{"type": "file", "path": p, "size": len(c), "oid": _git_sha(c)} for p, c in sorted(files.items())])


def info(request: Request) -> Answer:
    repository = request.repository
    found = repository.at(request.revision)
    siblings = [{"rfilename": path} for path in sorted(found.files)]
    name = request.match["repo"]
    return Answer({"_id": "0", "id": name, "sha": found.sha, "private": repository.private, "siblings": siblings})


_API = r"/api/(?P<kind>models|spaces)/(?P<repo>[^/]+/[^/]+)"
_PAGE = r"/(?:(?P<kind>spaces)/)?(?P<repo>[^/]+/[^/]+?)"
_AT = r"(?P<revision>[^/]+)"
ROUTES: list[tuple[str, str, Callable[[Request], Answer]]] = [
    ("GET", r"/api/whoami-v2", whoami),
    ("POST", r"/api/validate-yaml", validate_yaml),
    ("POST", r"/api/repos/create", create),
    ("POST", rf"{_API}/branch/{_AT}", branch),
    ("POST", rf"{_API}/preupload/{_AT}", preupload),
    ("POST", rf"{_PAGE}\.git/info/lfs/objects/batch", lfs_batch),
    ("PUT", r"/_lfs/(?P<oid>\w+)", lfs_upload),
    ("POST", rf"{_API}/commit/{_AT}", commit),
    ("GET", rf"{_PAGE}/resolve/{_AT}/(?P<path>.+)", resolve),
    ("GET", rf"{_API}/tree/{_AT}", tree),
    ("GET", rf"{_API}(?:/revision/{_AT})?", info),
]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _git_sha(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
