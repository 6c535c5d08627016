"""The committed CRD and API reference are what the models say."""

from __future__ import annotations

import subprocess
import sys

from batch_inference_api.crd import ROOT, find_outdated, generated_files, main


def test_the_committed_files_are_up_to_date():
    assert find_outdated(ROOT) == []


def test_check_names_what_is_outdated_and_write_repairs_it(tmp_path, capsys):
    assert main(["--check", "--root", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    for path in generated_files():
        assert f"{path} is not up to date: run python -m batch_inference_api.crd --write" in told

    assert main(["--write", "--root", str(tmp_path)]) == 0
    assert main(["--check", "--root", str(tmp_path)]) == 0


def test_a_run_imports_neither_the_generator_nor_the_status():
    program = (
        "import sys, batch_inference_api.problems, batch_inference_api.resolve\n"
        "print([name for name in sys.modules if name.rpartition('.')[2] in"
        " ('crd', 'structural_schema', 'api_reference', 'status')])"
    )

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert found.stdout.decode().strip() == "[]"
