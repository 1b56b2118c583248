from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nas.cli.train import app


@pytest.mark.slow
def test_a_super_network_is_trained_from_the_command_line(nas_data: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app,
        ["supernet", "--output", str(tmp_path), "--data", str(nas_data), "--epochs", "1",
         "--subset", "16", "--minutes", "0", "-o", "json"],
    )  # fmt: skip

    assert done.exit_code == 0, done.output
    metrics = json.loads(done.stdout)
    assert metrics["finished"] is False
    assert (tmp_path / "supernet.safetensors").exists()


def test_a_budget_without_a_unit_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["dnas", "--output", str(tmp_path), "--budget", "5"])

    assert "needs a number and a unit" in str(done.exception)
