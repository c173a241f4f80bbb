"""A stand-in of the Hugging Face Hub on this machine: repositories with revisions behind the real protocol.

It answers what `huggingface_hub` asks when networks and Spaces are pushed and loaded, with the status codes and headers
of the Hub, and keeps every commit. `tests/conftest.py` has the fixture `hub`, which points this process at it.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from front_matter import front_matter_problems

USERS = {"hf_write": ("me", "write"), "hf_read": ("me", "read"), "hf_other": ("you", "write")}
"""Token -> whose it is, and what it may do."""
LARGE = (".safetensors", ".bin", ".png", ".jpg")

Files = dict[str, bytes]


class Refusal(Exception):
    """An answer other than success.

    Args:
        status: of HTTP.
        code: X-Error-Code, by which huggingface_hub tells them apart.
        message: X-Error-Message.
        more: beside the message, in the body.
    """

    def __init__(self, status: int, code: str, message: str, **more: str) -> None:
        self.status, self.code, self.message, self.more = status, code, message, more


@dataclass
class Commit:
    """All files as they are after one commit, and its title."""

    sha: str
    files: Files
    title: str


@dataclass
class Repository:
    """A model or a Space with its history; `refs` are branches and tags."""

    owner: str
    private: bool = False
    gated: bool = False
    sdk: str | None = None
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Files, title: str, branch: str = "main") -> str:
        """Put a branch on a new commit, and return its sha."""
        parent = self.refs.get(branch, "")
        content = [(path, hashlib.sha1(data).hexdigest()) for path, data in sorted(files.items())]
        sha = hashlib.sha1(json.dumps([parent, title, content]).encode()).hexdigest()
        self.commits[sha] = Commit(sha, dict(files), title)
        self.refs[branch] = sha
        return sha

    def at(self, revision: str) -> Commit:
        """The commit of a branch, a tag or a sha."""
        sha = self.refs.get(revision, revision)
        if sha not in self.commits:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return self.commits[sha]


class HubServer:
    """The repositories, and the server that answers for them.

    Attributes:
        url: its address.
        repositories: "models/owner/name" or "spaces/owner/name" -> Repository.
        requests: "METHOD path" of every request so far.
        broken: answer 503 to everything.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.broken = False
        self.blobs: Files = {}
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["HubServer"]:
        """Serve while the context lasts."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def add(self, name: str, files: Files, *, private: bool = False, gated: bool = False, kind: str = "models") -> str:
        """Make a repository, or add a commit to it that replaces all its files; returns the commit's sha."""
        repository = self.repositories.setdefault(
            f"{kind}/{name}", Repository(name.partition("/")[0], private=private, gated=gated)
        )
        return repository.commit(files, "Added by a test")

    def files(self, name: str, revision: str = "main", *, kind: str = "models") -> Files:
        """The files of a repository at a revision."""
        return self.repositories[f"{kind}/{name}"].at(revision).files

    # -------------------------------------------------------------------------------------------------- permissions

    def readable(self, key: str, token: str | None) -> Repository:
        """The repository if this token may read it; what the Hub answers otherwise."""
        user, _ = self.user(token) if token else (None, "")
        repository = self.repositories.get(key)
        if repository is None or (repository.private and repository.owner != user):
            raise Refusal(404 if user else 401, "RepoNotFound", "Repository not found")
        if repository.gated and repository.owner != user:
            raise Refusal(403 if user else 401, "GatedRepo", "Access to this model is restricted")
        return repository

    def writable(self, owner: str, token: str | None) -> None:
        """Refuse a token that may not write to what this user owns."""
        if token is None:
            raise Refusal(401, "", "Invalid username or password.")
        user, role = self.user(token)
        if role != "write" or user != owner:
            raise Refusal(403, "", f"you don't have the rights to write to {owner}")

    def user(self, token: str | None) -> tuple[str, str]:
        """Whose a token is, and what it may do."""
        if token not in USERS:
            raise Refusal(401, "", "Invalid credentials in Authorization header")
        return USERS[token]


@dataclass
class Request:
    """What a route needs to know of a request."""

    hub: HubServer
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


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    """What reads requests from the wire and writes answers to it, for this hub."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: `hub.requests` has it."""

        def answer(self) -> None:
            body, path = self._body(), urlsplit(self.path).path
            method = "GET" if self.command == "HEAD" else self.command
            with hub.lock:
                hub.requests.append(f"{self.command} {path}")
                try:
                    if hub.broken:
                        raise Refusal(503, "", "Service unavailable")
                    self._send(self._route(method, path, body))
                except Refusal as refusal:
                    headers = {"X-Error-Code": refusal.code} if refusal.code else {}
                    headers["X-Error-Message"] = refusal.message
                    self._send(Answer({"error": refusal.message, **refusal.more}, headers, refusal.status))

        def _route(self, method: str, path: str, body: bytes) -> Answer:
            for wanted, pattern, route in ROUTES:
                match = re.fullmatch(pattern, path)
                if match and wanted == method:
                    scheme, _, token = self.headers.get("Authorization", "").partition(" ")
                    return route(Request(hub, match, body, token if scheme == "Bearer" else None))
            raise Refusal(404, "", f"no such address: {path}")

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _send(self, answer: Answer) -> None:
            raw = isinstance(answer.content, bytes)
            data = answer.content if raw else json.dumps(answer.content).encode()
            self.send_response(answer.status)
            kind = "application/octet-stream" if raw else "application/json"
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_PUT = answer

    return Handler
