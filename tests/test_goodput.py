"""Where the time of a run goes, over its whole life."""

import json
import time

import pytest
from helpers import small
from helpers.loop import run_loop

from scam_jax.runs import goodput, run_folder
from scam_jax.training import ledger
from scam_jax.training.ledger import Ledger


def entry(began, first, reached=None, **seconds):
    known = {} if reached is None else {"reached": reached, "seconds": seconds}
    return {"began": began, "step": first, **known}


def test_a_run_without_a_stop():
    found = goodput.of_starts([entry(100, 0, 50, start=5.0, compile=15.0, step=80.0)])
    assert found.life == 100
    assert found.share == 0.8
    assert found.parts == {"start": 5.0, "compile": 15.0}
    assert found.away == found.repeated == 0


def test_steps_that_are_done_again_do_not_count_and_time_away_is_seen():
    """Saved at 40, but that checkpoint was lost: on from 30, after an hour."""
    starts = [
        entry(0, 0, 40, start=10.0, step=40.0),
        entry(3600, 30, 50, start=10.0, step=20.0),
    ]
    found = goodput.of_starts(starts)
    assert (found.useful, found.repeated) == (30 + 20, 10)
    assert found.life == 3630
    assert found.away == 3550
    assert found.parts == {"start": 20.0}
    assert found.share == pytest.approx(50 / 3630)


def test_steps_that_a_later_start_went_back_behind_do_not_count():
    starts = [
        entry(0, 0, 40, step=40.0),
        entry(50, 40, 50, step=10.0),
        entry(70, 30, 60, step=30.0),
    ]
    found = goodput.of_starts(starts)
    assert (found.useful, found.repeated) == (30 + 30, 10 + 10)


def test_a_start_that_saved_nothing_was_for_nothing():
    found = goodput.of_starts([entry(0, 0), entry(60, 0, 10, step=40.0)])
    assert (found.life, found.useful, found.away) == (100, 40, 60)


def test_without_a_record_there_is_no_goodput():
    assert goodput.of_starts([]) is None
    assert goodput.of_starts([entry(0, 0), {"step": 3}]) is None


def test_all_time_belongs_to_a_part():
    begun, counted = time.perf_counter(), Ledger()
    time.sleep(0.02)
    counted.end_start()
    with counted.part("evaluation"):
        time.sleep(0.03)
    time.sleep(0.04)
    seconds = counted.seconds()
    passed = time.perf_counter() - begun
    assert seconds["start"] >= 0.02
    assert seconds["evaluation"] >= 0.03
    assert seconds["step"] >= 0.04
    assert 0.09 <= sum(seconds.values()) <= passed + 0.01


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ({"step": 89.0, "compile": 29.9, "data": 0.1}, "119 s: step 75%, compile 25%"),
        ({"compile": 1800.0, "step": 5400.0, "data": 0.1}, "2.0 h: step 75%, compile 25%"),
        ({"step": 0.0}, "0 s: "),
        ({"step": 86400.0 * 3}, "3.0 days: step 100%"),
    ],
)
def test_what_is_told(seconds, text):
    assert ledger.told(seconds) == text


def test_the_run_records_its_time_at_every_checkpoint(tmp_path):
    """The line of the last start, and no other, says what was reached."""
    config = small.shallow(eval__every=2)
    for _ in range(2):
        run_folder.record(config, tmp_path)
    recorded = []

    def record(step, seconds):
        run_folder.record_progress(tmp_path, step, seconds)
        recorded.append(step)

    run_loop(
        config,
        tmp_path,
        record=record,
        evaluate=lambda state: {"eval/x": 1.0},
        seconds_at_peak=lambda step: 0.5,
    )
    first, last = map(json.loads, (tmp_path / "runs.jsonl").read_text().splitlines())
    assert recorded == [2, 4, 4]
    assert "reached" not in first
    assert last["reached"] == 4
    assert last["seconds"]["compile"] > last["seconds"]["evaluation"] > 0
    assert goodput.of_starts([last]).useful > 0
    board = b"".join(f.read_bytes() for f in (tmp_path / "tensorboard").iterdir())
    assert b"time/model_flops_utilization" in board
