from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nas.errors import InvalidRequestError
from nas.evaluators.accuracy import SOURCES, accuracy_source
from nas.settings import Settings
from search_spaces import SPACES
from search_spaces.moves import sample


def test_every_source_is_named_after_a_space() -> None:
    assert set(SOURCES.names()) <= set(SPACES.names())


def test_a_space_without_a_source_is_refused_with_those_that_have_one_and_the_way_to_add_it() -> (
    None
):
    with pytest.raises(InvalidRequestError) as caught:
        accuracy_source("my-space")

    message = str(caught.value)
    assert "'my-space' has no accuracy source" in message
    assert all(name in message for name in SOURCES.names())
    assert "nas/evaluators/sources/my_space.py" in message


def test_what_is_only_predicted_has_no_dear_look_and_learns_nothing() -> None:
    source = accuracy_source("mobilenetv3")

    assert source.evaluator() is None
    assert source.told([], []) is source


def test_the_folder_of_data_is_that_of_the_environment() -> None:
    environment = {"NAS_HOME": "/home/of/nas", "NAS_DATA": "/tables"}

    assert Settings.from_environment(environment) == Settings(Path("/home/of/nas"), Path("/tables"))
    assert Settings.from_environment({"NAS_HOME": "/home/of/nas"}).data is None


def test_once_for_all_accuracies_say_whose_weights_they_are() -> None:
    space = SPACES.get("mobilenetv3")
    networks = sample(space, 4, np.random.default_rng(0))

    report = accuracy_source("mobilenetv3").report(networks)

    assert report.weights == "once-for-all (published weights, width 1.0)"
    assert ((report.top1_percent > 60) & (report.top1_percent < 82)).all()
