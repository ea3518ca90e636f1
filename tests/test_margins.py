from __future__ import annotations

import csv
import io

import pytest
import torch

from monai_ima.attacks import AttackResult
from monai_ima.margins import AttackOutcome, MarginTable, OutcomeLog, coarse_delta, epoch_rule, online_rule


def result(clean_correct, success, distance):
    count = len(distance)
    right = torch.tensor(clean_correct)
    return AttackResult(torch.zeros(count, 1), torch.tensor(success), torch.tensor(distance), right, right.float())


def test_algorithm_2_on_a_hand_made_epoch():
    """ε_max 1, δ 0.25; margins 0.5 each. Wrong -> δ; case 1 -> distance; case 0 -> ε + δ; all clipped to [δ, ε_max]."""
    table = MarginTable(1.0, 0.25)
    names = ["wrong", "crossed", "near", "stood", "at_top"]
    for name in names:
        table[name] = 1.0 if name == "at_top" else 0.5
    seen = OutcomeLog()
    seen.record(
        names,
        result([False, True, True, True, True], [False, True, True, False, False], [0.0, 0.375, 0.0625, 0.5, 1.0]),
    )
    table.update(seen.merged(), epoch_rule)
    assert {n: table[n] for n in names} == {"wrong": 0.25, "crossed": 0.375, "near": 0.25, "stood": 0.75, "at_top": 1.0}


def test_online_update_on_a_hand_made_epoch():
    table = MarginTable(1.0, 0.25)
    names = ["wrong", "crossed", "stood"]
    for name in names:
        table[name] = 0.5
    seen = OutcomeLog()
    seen.record(["wrong"])
    seen.record(["crossed", "stood"], result([True, True], [True, False], [0.375, 0.5]))
    table.update(seen.merged(), online_rule)
    assert {n: table[n] for n in names} == {"wrong": 0.5, "crossed": (0.5 + 0.375) / 2, "stood": 0.75}


def test_an_id_seen_several_times_gets_one_update():
    many = AttackOutcome(distances=[0.5, 0.25, 0.75], survived=True)
    assert epoch_rule(1.0, many, 0.1) == 0.25
    assert online_rule(1.0, many, 0.1) == (1.0 + 0.5) / 2
    assert (
        epoch_rule(0.5, AttackOutcome(survived=True), 0.125)
        == online_rule(0.5, AttackOutcome(survived=True), 0.125)
        == 0.625
    )


@pytest.mark.parametrize("share", [1.0, 0.7, 0.5, 0.4, 1 / 3, 0.33, 0.25, 0.1])
def test_a_coarse_delta_is_told_with_the_passes_after_which_a_ball_is_as_large_as_can_be(share):
    """Counted with the table and Algorithm 2 themselves."""
    table, passes = MarginTable(0.3, 0.3 * share), 0
    table.register(["a"])
    while table["a"] < 0.3 * (1 - 1e-9):
        table.update({"a": AttackOutcome(survived=True)}, epoch_rule)
        passes += 1
    told = coarse_delta(0.3, 0.3 * share)
    assert (told is None) == (share < 1 / 3)
    if told is not None:
        assert (f"reaches eps_max after {passes} pass(es)" if passes else "reaches eps_max from the start") in told
        assert "expected a delta below eps_max / 3, such as 0.03" in told


def test_unknown_samples_start_at_delta_and_are_kept_once_seen():
    table = MarginTable(1.0, 0.125)
    assert table.lookup(["a", "b"]).tolist() == [0.125, 0.125]
    assert "a" not in table
    table.update({"a": AttackOutcome(survived=True)}, online_rule)
    assert len(table) == 1
    assert table["a"] == 0.25
    assert table.ids() == ["a"]


def test_state_survives_a_safe_checkpoint(tmp_path):
    table = MarginTable(1.0, 0.1)
    table["b"], table["a"] = 0.3, 1 / 3
    torch.save({"margins": table.state_dict()}, tmp_path / "c.pt")
    state = torch.load(tmp_path / "c.pt", weights_only=True)["margins"]
    other = MarginTable(1.0)
    other.load_state_dict(state)
    assert (other.ids(), other["a"], other["b"], other.delta) == (["a", "b"], 1 / 3, 0.3, 0.1)
    narrow = MarginTable(0.2, 0.15)
    narrow.load_state_dict(state)
    assert (narrow["a"], narrow.delta) == (0.2, 0.15)


def test_csv_has_one_row_a_sample_and_overwrites_nothing(tmp_path):
    table = MarginTable(1.0, 0.1)
    table["x,1"] = 0.3
    table.save_csv(tmp_path / "m.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "m.csv").read_text())))
    assert rows == [{"sample_id": "x,1", "margin": "0.3"}]
    with pytest.raises(FileExistsError):
        table.save_csv(tmp_path / "m.csv")


def test_bad_tables_are_refused():
    for bad in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match="eps_max"):
            MarginTable(bad)
    for bad in (0.0, 1.5):
        with pytest.raises(ValueError, match=r"Got delta .* expected a number in \(0, eps_max = 1\]"):
            MarginTable(1.0, bad)
    table = MarginTable(1.0, 0.1)
    with pytest.raises(KeyError, match="No margin is known for sample 'z'"):
        table["z"]
    with pytest.raises(ValueError, match="finite"):
        table["z"] = float("nan")
    with pytest.raises(ValueError, match="damaged"):
        table.load_state_dict({"network": 1})
    with pytest.raises(ValueError, match="2 margins for 1 different"):
        table.load_state_dict({"ids": ["a", "a"], "margins": torch.ones(2), "delta": 0.1, "eps_max": 1.0})


@pytest.mark.parametrize(("eps_max", "said"), [(1.0, "those above it are cut to it"), (9.0, "grow further"), (5.0, "")])
def test_margins_of_another_eps_max_are_taken_over_with_a_warning(eps_max, said, caplog):
    saved = MarginTable(5.0, 0.5)
    saved["a"] = 4.0
    table = MarginTable(eps_max, 0.5)
    table.load_state_dict(saved.state_dict())
    assert table["a"] == min(4.0, eps_max)
    assert said in caplog.text
    assert bool(caplog.records) == bool(said)
