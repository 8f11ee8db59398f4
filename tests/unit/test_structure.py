"""The structure of the project, held by a test because it decays silently otherwise."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "proxy"
UNIT = ROOT / "tests" / "unit"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted(path for path in UNIT.rglob("test_*.py") if path != Path(__file__).resolve())

LONGEST = 400  # lines
LONGEST_NAME = 70  # characters of a test's name; about 60 are enough
WRITES_JSON = {  # nothing but text: digests, files of our own, lines of a log, messages
    "proxy/capacity/redis/counters.py",
    "proxy/cli.py",
    "proxy/commands/tables.py",
    "proxy/config/compile/snapshot.py",
    "proxy/core/json_text.py",
    "proxy/dialects/anthropic/answer.py",
    "proxy/dialects/anthropic/errors.py",
    "proxy/dialects/gemini/calls.py",
    "proxy/dialects/memory.py",
    "proxy/dialects/openai/errors.py",
    "proxy/dialects/error_details.py",
    "proxy/dialects/rewriter.py",
    "proxy/dialects/schema/express.py",
    "proxy/dialects/schema/forms.py",
    "proxy/dialects/schema/merge.py",
    "proxy/mock/answer.py",
    "proxy/observe/exposition.py",
    "proxy/runtime_file.py",
    "proxy/surfaces/openai/errors.py",
    "proxy/settle/log.py",
    "proxy/settle/request_line.py",
    "proxy/store/envelope.py",
    "proxy/upstream/persist.py",
    "proxy/upstream/shared_health.py",
    "proxy/workers/messages.py",
}
VAGUE = {"base_utils", "common", "helper", "helpers", "manager", "misc", "shared", "util", "utils"}
CONTRACTS = {
    "layers",
    "layers of the configuration",
    "core, dialects, surfaces and routing are pure",
    "the mock's answers are pure",
    "the mock is a transport that the composition root chooses",
    "settings stop at the composition root",
    "pydantic is for the configuration and the admin API",
    "httpx is behind one seam",
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def mirrored(test: Path) -> bool:
    """Whether `test_<module>.py` or `test_<module>_<aspect>.py` stands where `<module>.py` does in the package."""
    folder = PACKAGE / test.parent.relative_to(UNIT)
    words = test.stem.removeprefix("test_").split("_")
    stems = ["_".join(words[:count]) for count in range(1, len(words) + 1)]
    return any((folder / f"{stem}.py").is_file() or (folder / stem / "__init__.py").is_file() for stem in stems)


def test_no_module_is_too_long_to_read() -> None:
    assert len(MODULES) > 100
    assert [name(path) for path in MODULES if len(path.read_text().splitlines()) > LONGEST] == []


def test_bodies_are_written_by_the_strict_json_writer() -> None:
    writers = {name(path) for path in MODULES if "json.dumps" in path.read_text()}

    assert writers <= WRITES_JSON


def test_every_module_has_a_docstring() -> None:
    assert [name(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_no_module_or_folder_has_a_vague_name() -> None:
    names = {part for path in MODULES for part in path.relative_to(PACKAGE).with_suffix("").parts}

    assert names & VAGUE == set()


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in MODULES}

    assert [name(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_every_unit_test_mirrors_a_module() -> None:
    assert TESTS != []
    assert [name(path) for path in TESTS if not mirrored(path)] == []


def test_names_of_tests_are_short() -> None:
    texts = [path.read_text() for path in sorted(UNIT.parent.rglob("test_*.py"))]
    names = [name for text in texts for name in re.findall(r"\bdef (test_\w+)", text)]

    assert len(names) > 2000
    assert [name for name in names if len(name) > LONGEST_NAME] == []


def test_import_contracts_exist() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())

    names = {contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]}

    assert names >= CONTRACTS


def test_every_folder_of_the_package_has_a_layer() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [layers] = [c["layers"] for c in settings["tool"]["importlinter"]["contracts"] if c["name"] == "layers"]
    known = {part.strip("() ").removeprefix("proxy.") for layer in layers for part in layer.split("|")}

    found = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in MODULES} - {"__init__"}

    assert found <= known
