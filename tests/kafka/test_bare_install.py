"""`pip install .` alone gives a working client and worker: in an environment that has what that
would install and nothing else.

The tests' own environment has every extra. Here an empty one gets links to the files of the base
dependencies and of what these need, by their own records, and the tree's code; its own
interpreter runs in it, so that processes that ours starts are as bare.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.until import until

ROOT = Path(__file__).parents[2]


def _needed(requirement: Requirement) -> Iterator[Requirement]:
    """What a distribution needs here, with the extras that were asked for."""
    for line in metadata.requires(requirement.name) or ():
        needed = Requirement(line)
        if needed.marker is None or any(
            needed.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)
        ):
            yield needed


def closure(lines: list[str]) -> set[str]:
    """Names of all distributions that these requirements bring."""
    seen: set[str] = set()
    waiting = [Requirement(line) for line in lines]
    names: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        names.add(canonicalize_name(requirement.name))
        waiting += _needed(requirement)
    return names


def link_files(distribution: str, packages: Path) -> None:
    """Its files of the library folder, by its RECORD."""
    for file in metadata.files(distribution) or ():
        if ".." in file.parts or file.suffix == ".pyc":  # scripts
            continue
        link = packages / file
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(str(file.locate())).resolve())


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of the bare environment."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True, with_pip=False)
    packages = (
        folder
        / "lib"
        / f"python{sys.version_info.major}.{sys.version_info.minor}"
        / "site-packages"
    )
    base = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "dependencies"
    ]
    for distribution in closure(base):
        link_files(distribution, packages)
    (packages / "odradek.pth").write_text(f"{ROOT / 'streams'}\n")
    assert (packages / "confluent_kafka" / "__init__.py").is_file()
    assert [
        extra
        for extra in ("jgo", "faust", "starlette", "pytest", "psutil")
        if (packages / extra).exists()
    ] == []
    return folder / "bin" / "python"


@pytest.fixture
def environment(bootstrap: str, namespace: str, tmp_path: Path) -> dict[str, str]:
    """README's program in the folder, and the settings for what runs there."""
    (program,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    (tmp_path / "hello.py").write_text(program.replace('"localhost:9092"', f'"{bootstrap}"'))
    odradek = {
        "ADDRESS": bootstrap,
        "NAMESPACE": namespace,
        "STATE_DIR": str(tmp_path / "state"),
        "PARTITIONS": "2",
    }
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "ODRADEK_"))
    }
    return kept | {f"ODRADEK_{name}": value for name, value in odradek.items()}


def test_the_first_program_runs(python: Path, environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [python, "hello.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "Hello, World!\n"), done.stderr


def test_the_commands_of_a_worker_and_of_a_client_run(
    python: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    command = [str(python), "-m", "odradek.cli"]
    log = tmp_path / "log"
    with log.open("w") as output:
        worker = subprocess.Popen(
            [
                *command,
                "worker",
                "hello",
                "--activities",
                "hello",
                "-t",
                "hello",
                "--processes",
                "2",
            ],
            cwd=tmp_path,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        typed = [
            "workflow",
            "execute",
            "--type",
            "Greeting",
            "-t",
            "hello",
            "-w",
            "hello-2",
            "-i",
            '"shell"',
        ]
        client = subprocess.Popen(
            [*command, *typed], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
        )
        # A worker that lacks a module has ended by now, and its client would wait for another one.
        until(lambda: client.poll() is not None or worker.poll() is not None)
        client.terminate()
        told, _ = client.communicate(timeout=60)
        assert client.returncode == 0 and "Hello, shell!" in told, log.read_text()
        worker.terminate()
        assert worker.wait(60) == 0, log.read_text()
    finally:
        worker.kill()
        worker.wait()
