from __future__ import annotations

from pathlib import Path

import pytest

from predictors.fit_few_shot import main, split_tables
from predictors.models.few_shot import FewShot
from search_spaces.errors import UsageError


def test_without_data_the_command_says_which_variable_to_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--data", str(tmp_path / "nowhere"), "--output", str(tmp_path)])

    assert code == 2
    assert "NAS_DATA" in capsys.readouterr().err


def test_a_folder_without_tables_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(tmp_path), "--space", "fbnet", "--output", str(tmp_path)]) == 2
    assert "no published table of fbnet" in capsys.readouterr().err


def test_a_split_that_is_not_published_is_refused(nas_data: Path) -> None:
    with pytest.raises(UsageError, match="no split 'XX'"):
        split_tables(nas_data, "XX")


@pytest.mark.slow
def test_the_command_writes_a_pack_with_its_provenance_and_figures(
    nas_data: Path, tmp_path: Path
) -> None:
    code = main(["--data", str(nas_data), "--space", "mobilenetv3", "--output", str(tmp_path)])

    page = (tmp_path / "few_shot_mobilenetv3.md").read_text(encoding="utf-8")
    pack = FewShot.loads((tmp_path / "few_shot_mobilenetv3.npz").read_bytes())
    assert code == 0
    assert pack.provenance["networks_per_source"] == 512
    assert "2080ti_1" in page
    assert "| last three | v100-1, v100-32, v100-64 | 10 |" in page
