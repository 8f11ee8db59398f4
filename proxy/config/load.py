"""Loads the file to `Settings`: reads, expands, validates, and reports all problems at once.

It reads only the file, the `.env` in the same directory, certificate files and the given environment. Errors are
`ConfigError` without a cause, because the original exception could contain text of the file.
"""

import io
import pickle
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from proxy.config.check import budgets, references
from proxy.config.check.auth import auth_problems
from proxy.config.check.prompts import prompt_problems
from proxy.config.check.user_keys import user_key_problems
from proxy.config.check.validate import Finding, validate
from proxy.config.check.warnings import address_warnings, value_warnings
from proxy.config.check.workers import unshared
from proxy.config.compile.process import compile_process
from proxy.config.compile.snapshot import compile_snapshot
from proxy.config.errors import ConfigError, Problem
from proxy.config.loaded import Loaded
from proxy.config.settings.describe import shape_of
from proxy.config.settings.schema import Settings
from proxy.config.source import Source, fetch, file_error, is_pipe
from proxy.config.yaml import document, read
from proxy.config.yaml.shape import Shape

MAX_REFERENCES = 100  # of problems with names that are reported


def load(path: Path, environ: Mapping[str, str], workers: int | None = None) -> Loaded:
    """Read a configuration; `workers` overrides `server.workers`.

    Raises `ConfigError` with every problem of the file.
    """
    loaded = parse(fetch(path, pipes=True), environ, workers)
    return replace(loaded, from_pipe=True) if is_pipe(path) else loaded


def parse(source: Source, environ: Mapping[str, str], workers: int | None = None, *, running: int = 1) -> Loaded:
    """Parse the bytes to settings. Raises `ConfigError`.

    `workers` overrides `server.workers`; `running` are the workers of a service that loads the file again.
    """
    shape = shape_of(Settings)
    reading = _read(source, shape, environ)
    file, data = str(source.path), reading.data
    settings, invalid = validate(data, shape)
    count = workers or max(running, settings.server.workers if settings else 1)
    if settings:
        invalid += [*unshared(settings, count), *user_key_problems(settings)]
        invalid += [*auth_problems(settings), *budgets.check(settings), *prompt_problems(settings)]
    problems = [Problem(file, line, where(path), message) for path, line, message in reading.problems]
    findings = (*invalid, *islice(references.check(data), MAX_REFERENCES))
    problems += [_problem(file, reading, finding) for finding in findings if not _follows(finding, reading)]
    if problems or settings is None:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line or 0))
    warnings = [Problem(file, line, where(path), message) for path, line, message in reading.warnings]
    findings = (*references.name_warnings(data), *value_warnings(settings), *address_warnings(data, settings))
    warnings += [_problem(file, reading, finding) for finding in findings]
    return Loaded(
        compile_snapshot(settings),
        compile_process(settings),
        pickle.dumps(settings),
        source.path,
        tuple(map(str, warnings)),
        source.fingerprint,
        workers=count,
        fixed_workers=workers,
    )


def _read(source: Source, shape: Shape, environ: Mapping[str, str]) -> read.Reading:
    """Read the YAML to plain data. Raises `ConfigError` without a cause, which could contain text of the file."""
    reading: read.Reading | None = None
    try:
        root = document.parse(_text(source.path, source.content))
        if not isinstance(root, document.Mapping):
            what = "is empty" if root is None else "must be a mapping of settings"
            raise file_error(source.path, f"{what}; start with a section such as `server:` or `providers:`")
        reading = read.read(root, shape, {**_variables(source), **environ})
    except document.YamlError as exc:
        failure = Problem(str(source.path), exc.line, "", str(exc))
    if reading is None:
        raise ConfigError([failure])
    return reading


def _follows(finding: Finding, reading: read.Reading) -> bool:
    """Return whether a finding is only the consequence of a value that could not be read."""
    return any(path[: len(finding.path)] == finding.path for path, _, _ in reading.problems)


def _problem(file: str, reading: read.Reading, finding: Finding) -> Problem:
    shown = reading.without_values(where(finding.shown_path))
    return Problem(file, reading.line(finding.path), shown, reading.without_values(finding.message))


def where(path: read.Path) -> str:
    """A path in dotted notation: `models[2].tier`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _variables(source: Source) -> dict[str, str]:
    if source.env_file is None:
        return {}
    from dotenv import dotenv_values  # only here: most services have no `.env`

    text = _text(source.env_file, source.env_content)
    values = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value is not None}


def _text(path: Path, content: bytes) -> str:
    line: int | None = None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
    raise ConfigError([Problem(str(path), line, "", "is not UTF-8; save it in UTF-8")])
