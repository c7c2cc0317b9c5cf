"""A few steps of the real training: it goes on where it was broken off, and what comes of it can be used."""

from pathlib import Path

import pytest

from inference.d2l import held_out
from inference.d2l.descent import TrainingPoint
from inference.d2l.errors import Cancelled
from inference.d2l.hypernetwork import Hypernetwork
from inference.d2l.settings import TrainingSettings
from inference.d2l.training import train


def test_it_goes_on_where_it_was_broken_off(smollm_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.d2l.descent.SAVED_EVERY", 5)
    monkeypatch.setattr("inference.d2l.chats.TOPICS", ["bees"])
    monkeypatch.setattr(held_out, "DOCUMENTS", 1)
    settings = TrainingSettings(steps=16, batch=4, documents=1)
    points: list[TrainingPoint] = []
    out = tmp_path / "trained.safetensors"
    with pytest.raises(Cancelled):  # among the steps of the salience
        train(smollm_path, out, settings, points.append, lambda: len(points) == 7)
    with pytest.raises(Cancelled):  # among those of the projections
        train(smollm_path, out, settings, points.append, lambda: len(points) == 16)
    assert not out.exists()

    score = train(smollm_path, out, settings, points.append, lambda: False)
    assert [point.step for point in points] == [*range(1, 8), *range(6, 15), *range(11, 17)]
    assert points[5:7] == points[7:9]
    assert 0 <= score.needle <= 1
    trained = Hypernetwork.load(out)
    assert trained.made["settings"]["steps"] == 16
    assert [path.name for path in tmp_path.iterdir()] == ["trained.safetensors"]
