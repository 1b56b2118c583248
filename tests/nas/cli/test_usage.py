"""What the command line refuses, and with which words and exit code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import typer

from nas.cli.main import app
from nas.service import Service
from search_spaces import SPACES
from search_spaces.architecture import Architecture
from search_spaces.graph import OpGraph
from search_spaces.ops import Conv, Linear

if TYPE_CHECKING:
    from tests.nas.cli.conftest import Command


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command, and the groups they are in."""
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.fixture(autouse=True)
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong request must be refused before a process is started."""

    def fail(*args: object, **options: object) -> None:
        pytest.fail("began to measure")

    monkeypatch.setattr("nas.calibrate.measure_locally", fail)
    monkeypatch.setattr("nas.evaluators.latency.measure_locally", fail)


def test_there_are_commands() -> None:
    assert {
        ("search",),
        ("profile", "run"),
        ("predict",),
        ("device", "doctor"),
        ("run", "resume"),
    } <= {*COMMANDS}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_lists_the_options_or_commands(nas: Command, path: tuple[str, ...]) -> None:
    ended = nas(*path, "--help")

    assert ended.code == 0
    assert ended.err == ""
    described: Any = typer.main.get_command(app)
    for name in path:
        described = described.commands[name]
    options = [option for parameter in described.params for option in parameter.opts
               if option.startswith("--")]  # fmt: skip
    for word in [*options, *getattr(described, "commands", {})]:
        assert word in ended.out
    # The first line of the help says what the command does.
    assert described.help.split("\n")[0].split(".")[0] in " ".join(ended.out.split())


def test_nas_alone_shows_its_help_and_is_a_usage_error(nas: Command) -> None:
    ended = nas()

    assert ended.code == 2
    assert "Usage" in ended.out + ended.err


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("5", "unit"),
        ("five ms", "unit"),
        ("5 m", "unit"),
        ("", "unit"),
        ("-5ms", "more than 0"),
        ("0ms", "more than 0"),
        ("p99=5ms", "percentile budgets are not supported yet"),
    ],
)
def test_a_budget_that_cannot_be_meant_is_a_usage_error(
    nas: Command, budget: str, words: str
) -> None:
    ended = nas("search", f"--budget={budget}")

    assert ended.code == 2
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--space", "mobilenetv4"], ["unknown search space 'mobilenetv4'", "mobilenetv3"]),
        (["--strategy", "evolutoin"], ["unknown search strategy", "did you mean evolution"]),
        (["--device", "local:trt-fp32-t1"], ["unknown runtime 'trt'", "ort"]),
        (["--device", "a device"], ["'a device' is not a target", "local:ort-fp32-t1"]),
        (["--risk", "0.9"], ["risk '0.9'", "50 %"]),
        (["--risk", "low"], ["risk 'low'", "5%"]),
        (["--batch", "0"], ["batch is 0"]),
        (["--occasions", "2"], ["occasions is 2", "3"]),
        (["--seed", "-1"], ["seed is -1"]),
        (["--seed", "x"], ["--seed"]),
        (["--max-measurements", "0"], ["max_measurements is 0"]),
        (["--unknown"], ["--unknown"]),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_meant_is_a_usage_error(
    nas: Command, home: Path, arguments: list[str], words: list[str]
) -> None:
    ended = nas("search", "--budget", "5ms", *arguments)

    assert ended.code == 2
    for word in words:
        assert word in ended.err
    assert "Traceback" not in ended.err
    if home.exists():
        assert nas("run", "list", "-o", "json").json == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["device", "calibrate", "jetson-orin"],
        ["profile", "--samples", "1", "--device", "jetson-orin"],
    ],
)
def test_a_device_out_of_reach_is_not_measured(nas: Command, arguments: list[str]) -> None:
    ended = nas(*arguments)

    assert ended.code == 4
    assert "jetson-agx-orin is not within reach" in ended.err
    assert "nas agent run" in ended.err


def test_a_search_for_a_device_out_of_reach_answers_by_prediction_and_says_so(
    nas: Command,
) -> None:
    ended = nas("search", "--budget", "5ms", "--device", "jetson-orin", "-o", "json")

    assert ended.code == 0
    answer = ended.json
    assert answer["state"] == "predicted"
    assert answer["verification"] is None
    assert answer["winner"]["kind"] == "predicted"
    assert answer["winner"]["within_budget"] is None
    assert answer["winner"]["latency_high_ms"] <= 5.0
    assert answer["predictor"]["measured_networks"] == 0
    assert "nas device calibrate jetson-agx-orin" in answer["advice"]


def test_the_table_of_a_predicted_answer_promises_nothing(nas: Command) -> None:
    ended = nas("search", "--budget", "5ms", "--device", "jetson-orin")

    assert "0 measurements" in ended.out
    assert "no promise" in ended.out
    assert "meets" not in ended.out


def test_a_prediction_for_a_device_out_of_reach_has_a_wide_interval(nas: Command) -> None:
    ended = nas("predict", "mobilenetv3:" + "0" * 46, "--device", "jetson-orin", "-o", "json")

    (row,) = ended.json
    assert row["model"] == "analytic"
    assert row["measured_networks"] == 0
    assert row["upper_ms"] > 4.0 * row["lower_ms"]


def test_an_unknown_device_is_refused_with_the_nearest_names(nas: Command) -> None:
    ended = nas("search", "--budget", "5ms", "--device", "jetson-orion")

    assert ended.code == 2
    assert "jetson-orin" in ended.err


def test_a_precision_the_runtime_lacks_is_not_available(nas: Command) -> None:
    ended = nas("search", "--budget", "5ms", "--device", "local:ort-int8-t1")

    assert ended.code == 4
    assert "ort-fp32-t1" in ended.err


@pytest.mark.parametrize("command", ["show", "resume", "replay"])
def test_an_unknown_run_is_refused_with_the_nearest_names(
    nas: Command, stored_run: str, command: str
) -> None:
    ended = nas("run", command, stored_run[:-1] + "x")

    assert ended.code == 2
    assert "unknown run" in ended.err
    assert stored_run in ended.err


def test_an_unknown_device_is_refused_with_the_known_names(nas: Command) -> None:
    ended = nas("device", "show", "lcal")

    assert ended.code == 2
    assert "did you mean local" in ended.err


@pytest.mark.parametrize("command", [["predict"], ["profile"]])
@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("mobilenetv3", ["not an architecture key"]),
        ("mobilenetv3:0", ["46 genes, 1 were given"]),
        ("mobilenetv3:9" + "0" * 45, ["gene 0 (resolution)", "is 9", "0=128", "6=224"]),
        ("mobilenetv3:0" + "3" + "0" * 44, ["gene 1 (depth[0])", "is 3", "0=2, 1=3, 2=4"]),
        ("other:00", ["unknown search space 'other'"]),
    ],
)
def test_a_wrong_architecture_key_names_the_gene_and_what_is_allowed(
    nas: Command, command: list[str], key: str, words: list[str]
) -> None:
    ended = nas(*command, key)

    assert ended.code == 2
    for word in words:
        assert word in ended.err


def test_profile_without_networks_is_a_usage_error(nas: Command) -> None:
    ended = nas("profile")

    assert ended.code == 2
    assert "--samples" in ended.err


def test_predicting_on_a_device_not_calibrated_names_the_command_to_run(nas: Command) -> None:
    ended = nas("predict", "mobilenetv3:" + "0" * 46)

    assert ended.code == 4
    found = re.search(r"run: nas (.*)", ended.err)
    assert found
    assert re.match(r"device calibrate \S+ --space mobilenetv3 --samples 10", found[1])
    # The command it names is one that there is.
    assert nas(*found[1].split(), "--help").code == 0


def write_weights(file: Path, graph: OpGraph) -> None:
    """Tensors that fit one network."""
    tensors: dict[str, np.ndarray] = {}
    for op in graph.ops:
        if isinstance(op, Conv | Linear):
            tensors[op.weight.key] = np.ones(op.weight.shape, dtype=np.float32)
            tensors[f"{op.weight.key}.bias"] = np.zeros(op.weight.shape[0], dtype=np.float32)
    np.savez(file, **tensors)  # type: ignore[arg-type]  # names are tensors, none is allow_pickle


@pytest.mark.parametrize(
    ("name", "content"),
    [("absent.npz", None), ("text.npz", b"no archive"), ("empty.npz", b""), ("folder", None)],
)
def test_a_weights_file_that_cannot_be_read_is_refused_before_anything_is_measured(
    nas: Command, tmp_path: Path, name: str, content: bytes | None
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    elif name == "folder":
        file.mkdir()

    ended = nas("search", "--budget", "5ms", "--weights", str(file))

    assert ended.code == 2
    assert f"cannot read weights from {file}" in ended.err
    assert nas("run", "list", "-o", "json").json == []


def test_a_weights_file_of_something_else_is_refused_naming_a_tensor(
    nas: Command, tmp_path: Path
) -> None:
    file = tmp_path / "other.npz"
    np.savez(file, other=np.ones(3))

    ended = nas("search", "--budget", "5ms", "--weights", str(file))

    assert ended.code == 2
    assert "no weight named" in ended.err


def test_weights_of_a_smaller_network_are_refused_before_anything_is_measured(
    nas: Command, tmp_path: Path
) -> None:
    """The winner may be any network, so the tensors of the largest one are needed."""
    space = SPACES.get("mobilenetv3")
    smallest = Architecture(space.name, (0,) * len(space.choices))
    file = tmp_path / "small.npz"
    write_weights(file, space.graph(smallest))

    ended = nas("search", "--budget", "5ms", "--weights", str(file))

    assert ended.code == 2
    assert "weight" in ended.err


def test_wrong_weights_are_refused_before_a_run_is_resumed(
    nas: Command, stored_run: str, tmp_path: Path
) -> None:
    ended = nas("run", "resume", stored_run, "--weights", str(tmp_path / "absent.npz"))

    assert ended.code == 2
    assert "cannot read weights" in ended.err


def test_ctrl_c_is_said_in_a_word(nas: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Service) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Service, "devices", interrupt)

    ended = nas("device", "list")

    assert ended.code == 130
    assert "Traceback" not in ended.err
