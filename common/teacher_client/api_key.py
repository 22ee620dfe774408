"""The API key that a client sends."""

import os
from pathlib import Path

from common.errors import UserError

TOKEN_VARIABLE = "TOOLAGENT_KD_TOKEN"


def read_token(token_file: Path | None) -> str:
    """The teacher's API key: from `token_file`, else from the environment variable TOOLAGENT_KD_TOKEN.

    Raises UserError when neither gives one.
    """
    if token_file is None:
        token, source = os.environ.get(TOKEN_VARIABLE, ""), f"the environment variable {TOKEN_VARIABLE}"
    else:
        try:
            token, source = token_file.read_text(encoding="utf-8"), f"the token file {token_file}"
        except OSError as error:
            raise UserError(f"can't read the token file {token_file}: {error.strerror}") from None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(
            f"{source} holds no usable token; expected one line of printable ASCII without spaces "
            f"(set token_file, or {TOKEN_VARIABLE})"
        )
    return token
