"""What a stand-in of the Hugging Face Hub keeps: repositories with all their commits, and who may see them."""

import hashlib
import json
from dataclasses import dataclass, field

USERS = {"hf_write": ("me", "write"), "hf_read": ("me", "read"), "hf_other": ("you", "write")}
"""Token -> whose it is, and what it may do."""

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


class HubStore:
    """Repositories by name.

    Attributes:
        url: where they are served.
        repositories: "models/owner/name" or "spaces/owner/name" -> Repository.
        blobs: large files that are uploaded and in no commit yet, by their hash.
        requests: "METHOD path" of every request so far.
        broken: answer 503 to everything.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.repositories: dict[str, Repository] = {}
        self.blobs: Files = {}
        self.requests: list[str] = []
        self.broken = False

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
