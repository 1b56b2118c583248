from __future__ import annotations

import csv
import hashlib
import io
import os
import stat
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from nas.errors import InvalidRequestError
from nas.export.files import export_onnx, pareto_csv, read_weights, write_file
from nas.result import Candidate
from search_spaces import SPACES
from search_spaces.architecture import Architecture, FloatArray
from search_spaces.errors import InvalidGraphError, NasError
from search_spaces.ops import Conv, Linear
from search_spaces.space import SearchSpace

Tensors = dict[str, np.ndarray]

CANDIDATE = Candidate(
    key="mobilenetv3:" + "0" * 46, kind="verified", latency_ms=4.5, latency_low_ms=4.25,
    latency_high_ms=4.75, top1_percent=76.5, top1_std_percent=0.25, drop_percent=0.5,
    accuracy_estimated=True, accuracy_extrapolated=False, macs=200_000_000,
    parameters=5_000_000, peak_activation_bytes=1_000_000, within_budget=True, on_front=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return SPACES.get("mobilenetv3")


@pytest.fixture(scope="module")
def tensors(space: SearchSpace) -> Tensors:
    """Small random tensors of the largest network, by name."""
    largest = Architecture(space.name, tuple(len(c.options) - 1 for c in space.choices))
    rng, found = np.random.default_rng(7), {}
    for op in space.graph(largest).ops:
        if isinstance(op, Conv | Linear):
            part = op.weight
            shape = [start + extent for start, extent in zip(part.start, part.shape, strict=True)]
            scale = float(np.sqrt(2.0 / np.prod(shape[1:])))
            found[part.key] = scale * rng.standard_normal(shape, dtype=np.float32)
            found[f"{part.key}.bias"] = 0.1 * rng.standard_normal(shape[0], dtype=np.float32)
    return found


@pytest.fixture(scope="module")
def weights(tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "largest.npz"
    np.savez(file, **tensors)  # type: ignore[arg-type]  # names are tensors, none is allow_pickle
    return file


@pytest.fixture(scope="module")
def smallest(space: SearchSpace) -> Architecture:
    return Architecture(space.name, (0,) * len(space.choices))


def run(model: bytes, shape: tuple[int, ...]) -> FloatArray:
    """Output for seeded input."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32)
    return np.asarray(session.run(None, {"input": image})[0], dtype=np.float64)


def about(model: bytes) -> dict[str, str]:
    return {prop.key: prop.value for prop in onnx.load_from_string(model).metadata_props}


def test_without_weights_file_name_and_metadata_say_so(
    space: SearchSpace, smallest: Architecture
) -> None:
    name, model = export_onnx(space, smallest)

    assert name == "best.untrained.onnx"
    assert about(model)["weights"] == "seeded:0"
    assert "weights_sha256" not in about(model)


def test_given_weights_are_exported_with_the_digest_of_their_file(
    space: SearchSpace, smallest: Architecture, weights: Path
) -> None:
    name, model = export_onnx(space, smallest, weights)

    assert name == "best.onnx"
    assert about(model) == {
        "weights": "given",
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "architecture": smallest.key,
        "space": "mobilenetv3",
        "graph_digest": space.graph(smallest).digest,
    }


def test_given_weights_change_what_the_network_says(
    space: SearchSpace, smallest: Architecture, weights: Path
) -> None:
    shape = space.graph(smallest).input_shape
    seeded, given = (run(export_onnx(space, smallest, w)[1], shape) for w in (None, weights))

    assert seeded.shape == given.shape == (1, 1000)
    assert np.isfinite(given).all()
    assert not np.allclose(seeded, given)


def test_every_tensor_of_the_export_is_cut_from_the_largest_networks(
    space: SearchSpace, weights: Path, tensors: Tensors
) -> None:
    rng = np.random.default_rng(3)
    genes = tuple(int(g) for g in rng.integers(0, space.option_counts))
    arch = space.canonical_arch(Architecture(space.name, genes))
    _, model = export_onnx(space, arch, weights)
    exported = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load_from_string(model).graph.initializer
    }

    for op in space.graph(arch).ops:
        if isinstance(op, Conv | Linear):
            part = op.weight
            cut = tuple(slice(a, a + n) for a, n in zip(part.start, part.shape, strict=True))
            assert (exported[f"{op.name}.weight"] == tensors[part.key][cut]).all()


def test_weights_read_back_as_they_were_saved(weights: Path, tensors: Tensors) -> None:
    found, digest = read_weights(weights)

    assert set(found) == set(tensors)
    assert all((found[name] == tensors[name]).all() for name in tensors)
    assert digest == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_other_number_formats_become_single_precision(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", half=np.ones(2, dtype=np.float16), whole=np.ones(2, dtype=int))

    found, _ = read_weights(tmp_path / "w.npz")

    assert {tensor.dtype for tensor in found.values()} == {np.dtype(np.float32)}


def test_a_missing_tensor_is_refused_by_name(
    space: SearchSpace, smallest: Architecture, tensors: Tensors, tmp_path: Path
) -> None:
    lost = sorted(tensors)[0]
    rest = {name: tensor for name, tensor in tensors.items() if name != lost}
    np.savez(tmp_path / "w.npz", **rest)  # type: ignore[arg-type]  # as above

    with pytest.raises(InvalidGraphError, match=repr(lost)):
        export_onnx(space, smallest, tmp_path / "w.npz")


def test_a_tensor_that_is_too_small_is_refused_with_both_shapes(
    space: SearchSpace, smallest: Architecture, tensors: Tensors, tmp_path: Path
) -> None:
    name = "head.classifier"
    small = tensors | {name: tensors[name][:10]}
    np.savez(tmp_path / "w.npz", **small)  # type: ignore[arg-type]  # as above

    with pytest.raises(InvalidGraphError, match=r"\(10, 1280\); \(1000, 1280\) are needed"):
        export_onnx(space, smallest, tmp_path / "w.npz")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.file,))


def test_pickled_content_is_refused_and_not_executed(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    tensors = {"stem": np.array([Bomb(trace)], dtype=object)}
    np.savez(tmp_path / "w.npz", **tensors)  # type: ignore[arg-type]  # as above

    with pytest.raises(InvalidRequestError, match="an npz of named tensors is needed"):
        read_weights(tmp_path / "w.npz")

    assert not trace.exists()


@pytest.mark.parametrize("kind", ["absent", "folder", "text", "empty", "cut off", "npy", "words"])
def test_what_is_no_npz_of_numbers_is_refused(kind: str, tmp_path: Path, weights: Path) -> None:
    file = tmp_path / "w.npz"
    match kind:
        case "folder":
            file.mkdir()
        case "text":
            file.write_text("weights")
        case "empty":
            file.write_bytes(b"")
        case "cut off":
            file.write_bytes(weights.read_bytes()[:5000])
        case "npy":
            with file.open("wb") as stream:
                np.save(stream, np.ones(3))
        case "words":
            np.savez(file, stem=np.array(["a", "b"]))

    with pytest.raises(InvalidRequestError, match="an npz of named tensors is needed") as caught:
        read_weights(file)

    assert str(file) in str(caught.value)


def test_a_damaged_tensor_in_a_compressed_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.npz"
    np.savez_compressed(file, stem=np.random.default_rng(0).standard_normal(5000))
    data = bytearray(file.read_bytes())
    data[1000:1100] = bytes(100)
    file.write_bytes(data)

    with pytest.raises(InvalidRequestError, match="an npz of named tensors is needed"):
        read_weights(file)


def test_a_file_is_written_with_the_folders_it_needs(tmp_path: Path) -> None:
    write_file(tmp_path / "a" / "b" / "text.txt", "Größe\n")
    write_file(tmp_path / "a" / "b" / "bytes.bin", b"\0\1")

    assert (tmp_path / "a" / "b" / "text.txt").read_bytes() == "Größe\n".encode()
    assert (tmp_path / "a" / "b" / "bytes.bin").read_bytes() == b"\0\1"
    assert len(list((tmp_path / "a" / "b").iterdir())) == 2


def test_a_write_that_fails_halfway_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "result.json"
    write_file(file, "old")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(data[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)

    with pytest.raises(NasError, match=r"cannot write .*result.json: No space left"):
        write_file(file, "new content")
    assert file.read_text() == "old"


def test_a_reader_never_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "result.json"
    write_file(file, "old")
    seen: list[str] = []
    real = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append(file.read_text())
        return real(self, target)

    monkeypatch.setattr(Path, "replace", watched)

    write_file(file, "new")

    assert seen == ["old"]
    assert file.read_text() == "new"


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """A folder is in the way."""
    (tmp_path / "result.json").mkdir()

    with pytest.raises(NasError, match="cannot write"):
        write_file(tmp_path / "result.json", "content")

    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)

    with pytest.raises(NasError, match="Permission denied; the result is kept in the store"):
        write_file(tmp_path / "result.json", "content")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(NasError, match="the result is kept in the store"):
        write_file(tmp_path / "file" / "result.json", "content")


def test_the_table_has_a_column_for_everything_known_of_a_candidate() -> None:
    rows = list(csv.DictReader(io.StringIO(pareto_csv([CANDIDATE]))))

    assert list(rows[0]) == [field.name for field in fields(Candidate)]
    assert rows[0]["latency_ms"] == "4.5"
    assert rows[0]["kind"] == "verified"
    assert rows[0]["within_budget"] == "True"
    # As text: a spreadsheet must not take the key for a number.
    assert rows[0]["key"].startswith("mobilenetv3:")


def test_unknown_stays_empty_and_lines_end_alike_everywhere() -> None:
    predicted = replace(CANDIDATE, kind="predicted", within_budget=None)

    text = pareto_csv([CANDIDATE, predicted])

    assert [row["within_budget"] for row in csv.DictReader(io.StringIO(text))] == ["True", ""]
    assert text.count("\n") == 3
    assert "\r" not in text


def test_no_candidates_are_a_table_without_rows() -> None:
    assert pareto_csv([]).count("\n") == 1
