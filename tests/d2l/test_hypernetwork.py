from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inference.d2l.errors import HypernetworkMisfit
from inference.d2l.hypernetwork import Hypernetwork
from inference.d2l.internalize import best_that_fits
from inference.engine.engine import Engine
from inference.hypernetworks import SHIPPED

MOST_BYTES = 48 * 2**20


def test_what_is_shipped_fits_the_default_model(engine: Engine, hypernetwork: Hypernetwork) -> None:
    hypernetwork.require_fit(engine.runner.decoder, "smollm2-135m-instruct")
    assert {"settings", "score"} <= hypernetwork.made.keys()
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= MOST_BYTES


def test_it_is_the_same_after_a_round_trip(hypernetwork: Hypernetwork, tmp_path: Path) -> None:
    hypernetwork.save(tmp_path / "copy.safetensors")
    again = Hypernetwork.load(tmp_path / "copy.safetensors")
    assert torch.equal(again.projections, hypernetwork.projections)
    assert torch.equal(again.flags.readers, hypernetwork.flags.readers)
    assert torch.equal(again.flags.neurons, hypernetwork.flags.neurons)
    assert torch.equal(again.salience.inner, hypernetwork.salience.inner)
    assert (again.made, again.flags.layer) == (hypernetwork.made, hypernetwork.flags.layer)


def test_another_model_is_told_apart(engine: Engine, hypernetwork: Hypernetwork) -> None:
    of_another = replace(hypernetwork, base=torch.randn_like(hypernetwork.base))
    with pytest.raises(HypernetworkMisfit, match="trained on smollm2-135m-instruct, not on mine"):
        of_another.require_fit(engine.runner.decoder, "mine")


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "any.safetensors").write_bytes(b"no such thing")
    with pytest.raises(ValueError, match="cannot be read"):
        Hypernetwork.load(tmp_path / "any.safetensors")


def test_a_worse_one_that_is_newer_does_not_take_its_place(
    engine: Engine, hypernetwork: Hypernetwork, tmp_path: Path
) -> None:
    shipped = SHIPPED / "smollm2-135m-instruct.safetensors"
    for name, needle in (("worse", 0.1), ("better", 1.0)):
        score = {"needle": needle, "facts": 0.9}
        replace(hypernetwork, made={"score": score}).save(tmp_path / f"{name}.safetensors")
    found = [
        best_that_fits([tmp_path / f"{name}.safetensors", shipped], engine, "mine") for name in ("worse", "better")
    ]
    assert [each.hypernetwork.score for each in found if each] == [hypernetwork.score, 1.9]
