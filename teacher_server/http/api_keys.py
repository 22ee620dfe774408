"""The clients' API keys, sent as bearer tokens: each with a name, from a file that is read again when it changes.

A token file is one bare key, whose client is named "default", or lines `name: token`; `#` begins a comment line.
"""

import hashlib
import hmac
import logging
import re
import time
from pathlib import Path

from common.errors import UserError
from common.teacher_client.settings import read_token

logger = logging.getLogger(__name__)

DEFAULT_CLIENT = "default"
CHECK_EVERY_S = 1.0
"""Seconds between two looks at the file."""
MAX_FILE_BYTES = 1_000_000

_NAMED = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,63}):[ \t]+(?P<token>[!-~]+)")
_BARE = re.compile(r"[!-9;-~]+")  # printable ASCII without spaces and colons

Version = tuple[int, int, int]
"""What changes when a file does: its inode, its time of change in ns, its size."""


class ApiKeys:
    """Tells whose an API key is. Given a file, it looks at most once a second whether that changed."""

    def __init__(self, clients: dict[str, str], file: Path | None = None, version: Version | None = None) -> None:
        """`clients` are keys by name; `version` is the one of `file` that they came from."""
        self._digests = {name: _digest(token) for name, token in clients.items()}
        self._file, self._seen = file, version
        self._next_check = time.monotonic() + CHECK_EVERY_S

    def client_of(self, key: str) -> str | None:
        """The name of the client with this key. Every key is compared, and in constant time."""
        self._reload_if_changed()
        given, found = _digest(key), None
        for name, digest in self._digests.items():
            if hmac.compare_digest(digest, given):
                found = name
        return found

    def _reload_if_changed(self) -> None:
        """A file that can't be used leaves the keys as they were; the log says so once for each state of the file."""
        if self._file is None or time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + CHECK_EVERY_S
        version = _version(self._file)
        if version == self._seen:
            return
        self._seen = version
        try:
            clients = parse_api_keys(_read(self._file), f"the token file {self._file}")
        except UserError as error:
            logger.error("%s; the tokens from before stay in use", error)
            return
        self._digests = {name: _digest(token) for name, token in clients.items()}
        logger.info("the token file %s changed; it names %s", self._file, ", ".join(clients))


def open_api_keys(token_file: Path | None) -> ApiKeys:
    """The keys of `token_file`, else the one in the environment variable TOOLAGENT_KD_TOKEN.

    Raises UserError when there is none, or a line of the file is wrong.
    """
    if token_file is None:
        return ApiKeys({DEFAULT_CLIENT: read_token(None)})
    version = _version(token_file)  # before reading: a change in between is found later
    return ApiKeys(parse_api_keys(_read(token_file), f"the token file {token_file}"), token_file, version)


def parse_api_keys(text: str, source: str) -> dict[str, str]:
    """Keys by their clients' names. Raises UserError, which never shows a key, when a line is wrong."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if len(lines) == 1 and _BARE.fullmatch(lines[0][1]):
        return {DEFAULT_CLIENT: lines[0][1]}
    if not lines:
        raise UserError(f"{source} holds no token; write one token alone, or lines `name: token`")
    clients: dict[str, str] = {}
    for number, line in lines:
        match = _NAMED.fullmatch(line)
        if match is None:
            raise UserError(
                f"{source}, line {number}: expected `name: token`, the name of letters, digits, `.`, `_`, `-`, a space "
                "after the colon, the token of printable ASCII without spaces (one token alone needs no name)"
            )
        _refuse_duplicate(match["name"] in clients, f"{source}, line {number}: the name {match['name']!r}")
        _refuse_duplicate(match["token"] in clients.values(), f"{source}, line {number}: the token")
        clients[match["name"]] = match["token"]
    return clients


def _refuse_duplicate(repeated: bool, what: str) -> None:
    if repeated:
        raise UserError(f"{what} stood before; give each client a name and a token of its own")


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise UserError(f"the token file {file} has more than {MAX_FILE_BYTES:,} bytes; is it the right file?")
        return content.decode("utf-8")
    except OSError as error:
        raise UserError(f"can't read the token file {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"the token file {file} isn't text in UTF-8") from None


def _version(file: Path) -> Version | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
