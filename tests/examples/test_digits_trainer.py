"""The example trainer on its own; how it does in a federation is the demo's test."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from federant.demo.judge import Judge, trainer_file
from federant.demo.split import split_digits


@pytest.fixture(scope="module")
def trainer() -> dict[str, object]:
    return runpy.run_path(str(trainer_file()), run_name="example")


def test_it_learns_and_leaves_the_model_that_it_was_given_alone(trainer) -> None:
    share = split_digits(3, seed=0).shares[0]
    inputs = trainer["features"](share.images)
    model = trainer["fresh_model"]()
    trained = trainer["train"](model, inputs, share.labels, np.random.default_rng(0))
    assert not model["weights"].any()
    before = trainer["evaluate"](model, inputs, share.labels)
    after = trainer["evaluate"](trained, inputs, share.labels)
    assert after[0] < before[0]
    assert after[1] > 0.9


def test_the_same_seed_gives_the_same_model(trainer) -> None:
    share = split_digits(3, seed=0).shares[1]
    inputs = trainer["features"](share.images)
    first, second = (
        trainer["train"](
            trainer["fresh_model"](), inputs, share.labels, np.random.default_rng([0, 3])
        )
        for _ in range(2)
    )
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_its_model_keeps_float32(trainer) -> None:
    share = split_digits(3, seed=0).shares[2]
    trained = trainer["train"](
        trainer["fresh_model"](),
        trainer["features"](share.images),
        share.labels,
        np.random.default_rng(0),
        epochs=1,
    )
    assert {array.dtype for array in trained.values()} == {np.dtype(np.float32)}


def test_all_data_teach_more_than_one_share(trainer) -> None:
    split = split_digits(3, seed=0)
    judge = Judge(split, seed=0)
    assert judge.train_alone(split.pooled, rounds=2) > judge.train_alone(split.shares[0], rounds=2)


def test_the_file_lies_where_the_examples_are() -> None:
    assert trainer_file() == Path(trainer_file()).resolve()
    assert trainer_file().parent.name == "examples"
