"""Reading of files that settings name."""

from pathlib import Path


def read_file(path: str, most: int, size: str) -> bytes:
    """Return the content of a regular file of at most `most` bytes, which `size` names in the error.

    Raises `ValueError` with the problem and its remedy.
    """
    try:
        file = Path(path).expanduser()
        if not file.is_file():  # a pipe can be read only once, and may never end
            what = "must be a regular file" if file.exists() else "names a file that does not exist; correct the path"
            raise ValueError(what)
        with file.open("rb") as opened:
            content = opened.read(most + 1)
    except OSError as exc:
        raise ValueError(f"names a file that cannot be read: {(exc.strerror or 'unknown reason').lower()}") from None
    if len(content) > most:
        raise ValueError(f"names a file that is larger than {size}")
    return content
