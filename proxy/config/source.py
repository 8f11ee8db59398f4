"""Reads the configuration file and the `.env` beside it as bytes; `proxy/config/load.py` parses them.

It uses the standard library only: a running service compares the bytes of its file without loading what validates it.
"""

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from proxy.config.errors import ConfigError, Problem

MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """The bytes of a file and of its `.env`."""

    path: Path
    content: bytes = field(repr=False)
    env_file: Path | None
    env_content: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """A digest that changes when either changes."""
        return hashlib.sha256(b"%d:%s%s" % (len(self.content), self.content, self.env_content)).hexdigest()


def default_path() -> Path:
    """`config/signalbox.yaml` in the working directory, else the default file of the package."""
    here = Path("config/signalbox.yaml")
    if here.is_file():
        return here
    from importlib import resources  # only here: most services are given a file

    shipped = Path(str(resources.files("proxy.config") / "default.yaml"))
    return shipped if shipped.is_file() else Path(__file__).resolve().parents[2] / here


def is_pipe(path: Path) -> bool:
    """Whether `path` is a pipe or a device, which can be read only once: `--config <(...)`, `/dev/stdin`."""
    return path.exists() and not path.is_file() and not path.is_dir()


def fetch(path: Path, *, pipes: bool = False) -> Source:
    """Read the bytes. Raises `ConfigError` if the file cannot be read or is too large.

    A pipe is an error unless `pipes` is set, because opening or reading it may block forever.
    """
    beside = path.parent / ".env"
    env_file = beside if beside.is_file() else None
    content = _content(path, "the configuration", pipes=pipes)
    return Source(path, content, env_file, b"" if env_file is None else _content(env_file, "the environment file"))


def _content(path: Path, what: str, *, pipes: bool = False) -> bytes:
    message = ""
    content = b""
    try:
        with _open(path, wait=pipes) as file:
            mode = os.fstat(file.fileno()).st_mode
            if pipes or stat.S_ISREG(mode):
                content = file.read(MAX_BYTES + 1)
            else:
                message = f"{what} must be a file, not a pipe or a device"
    except FileNotFoundError:
        message = f"{what} does not exist; set its path with `--config` or SIGNALBOX_CONFIG"
    except IsADirectoryError:
        message = f"{what} must be a file, not a directory"
    except OSError as exc:
        message = f"{what} cannot be read: {(exc.strerror or 'unknown reason').lower()}"
    if len(content) > MAX_BYTES:
        message = f"{what} is larger than 1 MiB"
    if message:
        raise file_error(path, message)
    return content


def _open(path: Path, *, wait: bool) -> BinaryIO:
    """Open the file for reading; with `wait`, wait for a writer if it is a pipe."""
    return open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if wait else os.O_NONBLOCK)), "rb")


def file_error(path: Path, message: str) -> ConfigError:
    """Return the error of a whole file."""
    return ConfigError([Problem(str(path), None, "", message)])
