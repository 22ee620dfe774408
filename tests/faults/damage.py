"""What happens to files while nobody looks: cut short, a bit flipped, deleted."""

from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path], None]


def truncate(file: Path) -> None:
    """Cut it in half."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    """Change one bit in its middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def delete(file: Path) -> None:
    """Remove it."""
    file.unlink()


def tear(record: Path) -> None:
    """Cut the last answer of the newest segment in its middle, as a crash of the machine would."""
    newest = max((path for path in record.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-100])
