"""A private copy of one example, in which its README's commands are run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testkit.readme_commands import sh_blocks

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMAND_DEADLINE_SECONDS = 180


@dataclass(frozen=True)
class ExampleCopy:
    """A folder with a job.yaml, and the environment in which its commands run."""

    folder: Path
    environment: Mapping[str, str]

    def sh(self, script: str) -> str:
        """Run a script as a reader would paste it, and return what it printed.

        Raises:
            AssertionError: a command failed; the message holds all it printed.
        """
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_DEADLINE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"exit code {done.returncode} from:\n{script}\n{done.stdout}"
        return done.stdout

    def run_readme(self, language: str = "sh") -> str:
        """Run every command of the README that is fenced so, in order."""
        return "".join(self.sh(block) for block in sh_blocks(self.folder / "README.md", language))


def example_names() -> tuple[str, ...]:
    """Return the numbered examples."""
    return tuple(sorted(path.name for path in EXAMPLES.glob("[0-9][0-9]-*")))


def copy_example(name: str, into: Path, **environment: str) -> ExampleCopy:
    """Copy an example without what earlier runs left in it."""
    made_by_runs = shutil.ignore_patterns("data", "model", "output", "scoring", "__pycache__")
    folder = Path(shutil.copytree(EXAMPLES / name, into / name, ignore=made_by_runs))
    commands = Path(sys.executable).parent
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    return ExampleCopy(folder, {**os.environ, "PATH": path, **environment})
