"""The command of bare machines, on real pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nas.supernet.checkpoint import read_checkpoint
from nas.supernet.train import main
from search_spaces import SPACES

SMALL = ["--subset", "48", "--batch", "16", "--random-networks", "1", "--pool", "2",
         "--scored", "2",
         "--epochs", "1", "--warmup-epochs", "0", "--rate", "0.05", "--device", "cpu"]  # fmt: skip


@pytest.mark.slow
def test_a_super_network_is_trained_stopped_and_finished_from_the_command_line(
    nas_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path), "--data", str(nas_data)]

    assert main(["supernet", *out, *SMALL, "--minutes", "0"]) == 0
    stopped = json.loads(capsys.readouterr().out)
    assert (stopped["finished"], stopped["steps"]) == (False, 0)
    assert "Stopped after 0 of 1 epochs" in (tmp_path / "card.md").read_text()
    assert main(["supernet", *out, *SMALL]) == 1
    assert "--resume" in capsys.readouterr().err
    assert main(["supernet", *out, "--subset", "48", "--scored", "2", "--resume"]) == 0

    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["finished"], metrics["steps"]) == (True, 3)
    assert metrics["largest"]["macs"] > metrics["smallest"]["macs"]
    with np.load(tmp_path / "accuracy.npz") as scores:
        assert scores["genes"].shape == (2, len(SPACES.get("mobilenetv3-cifar").choices))
        assert scores["genes"].dtype == np.int8
        assert int(scores["images"]) == 48
        assert ((scores["accuracy_percent"] >= 0) & (scores["accuracy_percent"] <= 100)).all()
    file = tmp_path / "supernet.safetensors"
    assert file.stat().st_size <= 13_000_000
    checkpoint = read_checkpoint(file, SPACES.get("mobilenetv3-cifar"))
    assert checkpoint.recipe["epochs"] == 1
    card = (tmp_path / "card.md").read_text()
    assert metrics["largest"]["architecture"] in card
    assert "Stopped" not in card


def test_wrong_wishes_are_one_sentence_and_a_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = {
        ("--space", "mobilenetv4"): "unknown search space",
        ("--data", str(tmp_path)): "cifar10-train.parquet",
        ("--resume",): "cannot read",
    }
    for arguments, said in cases.items():
        assert main(["supernet", "--out", str(tmp_path), *arguments]) in (1, 2)
        assert said in capsys.readouterr().err


def test_neither_typer_nor_the_database_nor_pydantic_is_loaded() -> None:
    heavy = ["typer", "sqlalchemy", "pydantic", "ray", "onnx"]
    code = (
        "import sys, nas.supernet.train, nas.supernet.results; "
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
