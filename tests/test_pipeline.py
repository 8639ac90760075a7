"""Batches are a function of the step, on any number of hosts."""

import itertools
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from absl import flags
from helpers.number_source import Numbers, children

from data import pipeline


@pytest.fixture(autouse=True)
def parsed_flags():
    """Grain's workers read flags, which main.py's app.run has parsed."""
    flags.FLAGS.mark_as_parsed()
    yield
    flags.FLAGS.unparse_flags()


def positions(batch) -> list[int]:
    return batch["label"][:, 0, 0].tolist()


def train(count=10, batch_size=4, seed=1, num_steps=6, **options) -> list[list[int]]:
    batches = pipeline.train_batches(
        Numbers(count), batch_size=batch_size, seed=seed, num_steps=num_steps, **options
    )
    return [positions(batch) for batch in batches]


def test_batches_are_stacked_examples():
    batch = next(pipeline.train_batches(Numbers(10), batch_size=4, seed=0))
    assert (batch["image"].shape, batch["image"].dtype) == ((4, 2, 3, 3), np.uint8)
    assert (batch["label"].shape, batch["label"].dtype) == ((4, 2, 3), np.uint8)
    np.testing.assert_array_equal(batch["image"][..., 0], batch["label"])


@pytest.mark.parametrize("start_step", [1, 3, 7])
def test_resuming_continues_the_uninterrupted_run(start_step):
    whole = train(num_steps=10)
    assert train(start_step=start_step, num_steps=10 - start_step) == whole[start_step:]


def noisy(example, rng):
    """An augmentation that shows its random numbers."""
    return example | {"noise": rng.random(2)}


@pytest.mark.parametrize(("process_count", "num_workers"), [(2, 0), (4, 0), (1, 2)])
def test_hosts_and_workers_change_nothing(process_count, num_workers):
    """Order, augmentation and resuming: the hosts' shares are the batches of one host."""
    options = dict(batch_size=4, seed=1, augment=noisy)
    whole = list(pipeline.train_batches(Numbers(10), num_steps=7, **options))
    shares = [
        pipeline.train_batches(
            Numbers(10),
            start_step=2,
            num_steps=5,
            process_index=i,
            process_count=process_count,
            num_workers=num_workers,
            **options,
        )
        for i in range(process_count)
    ]
    for batch, *parts in zip(whole[2:], *shares, strict=True):
        for name in batch:
            joined = np.concatenate([part[name] for part in parts])
            np.testing.assert_array_equal(joined, batch[name])


def test_augmentation_is_a_function_of_seed_epoch_and_example():
    def shown(seed, count=10, batch_size=4):
        batches = pipeline.train_batches(
            Numbers(count), batch_size=batch_size, seed=seed, num_steps=20, augment=noisy
        )
        seen = [
            (number, tuple(noise))
            for batch in batches
            for number, noise in zip(positions(batch), batch["noise"], strict=True)
        ]
        return seen[:count], seen[count : 2 * count]

    first, second = shown(seed=1)
    assert len({noise for _, noise in first + second}) == 20, "anew in every epoch and example"
    assert shown(seed=1, batch_size=5) == (first, second), "whatever the batch"
    assert not {noise for _, noise in shown(seed=2)[0]} & {noise for _, noise in first}
    expected = [(n, tuple(np.random.default_rng((1, 1, n)).random(2))) for n, _ in second]
    assert second == expected


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_workers_end_with_a_process_that_is_killed():
    program = """
import os, sys, time
from absl import app
from helpers.number_source import Numbers, children
from data import pipeline

def main(argv):
    source = Numbers(9)
    batches = pipeline.train_batches(source, batch_size=3, seed=0, num_workers=1)
    next(batches)
    print(*children(os.getpid()), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    app.run(main)
"""
    root = pathlib.Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'tests'}"}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        workers = process.stdout.readline().split()
        process.kill()
    assert workers
    deadline = time.monotonic() + 20
    while any(map(_is_alive, workers)):
        assert time.monotonic() < deadline, f"{workers} outlived the process that started them"
        time.sleep(0.05)


def _is_alive(process: str) -> bool:
    """A process that has ended stays as a zombie until its parent asks, which may be never."""
    try:
        text = pathlib.Path("/proc", process, "stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def test_a_worker_ignores_sigterm_and_its_end_is_explained():
    before = {*children(os.getpid())}
    batches = pipeline.train_batches(Numbers(9), batch_size=3, seed=0, num_workers=1)
    next(batches)
    workers = {*children(os.getpid())} - before
    for worker in workers:
        os.kill(int(worker), signal.SIGTERM)
    for _ in range(8):
        next(batches)
    for worker in workers:
        os.kill(int(worker), signal.SIGKILL)
    with pytest.raises(ChildProcessError, match=r"has ended .*-9.*lower config\.data\.num_workers"):
        [*itertools.islice(batches, 100)]


def test_an_error_in_a_worker_comes_out_with_its_own_message():
    batches = pipeline.train_batches(Numbers(4, broken=2), batch_size=4, seed=0, num_workers=1)
    with pytest.raises(ValueError, match=r"cannot read file2\.png: replace it"):
        next(batches)


def test_an_epoch_shows_every_example_once_and_the_next_in_another_order():
    shown = list(itertools.chain(*train(count=10, batch_size=4, num_steps=5)))
    first, second = shown[:10], shown[10:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_another_seed_gives_another_order():
    assert train(seed=1) != train(seed=2)


@pytest.mark.parametrize("count", [1, 3])
def test_a_source_smaller_than_a_batch_fills_it(count):
    batches = train(count=count, batch_size=8, num_steps=3)
    assert [len(batch) for batch in batches] == [8, 8, 8]
    shown = list(itertools.chain(*batches))
    assert all(sorted(shown[i : i + count]) == list(range(count)) for i in range(0, 21, count))


def test_without_a_number_of_steps_there_is_no_end():
    batches = pipeline.train_batches(Numbers(3), batch_size=2, seed=0, start_step=10**6)
    assert len(list(itertools.islice(batches, 50))) == 50


def test_an_error_of_the_source_comes_out_with_its_own_message():
    batches = pipeline.train_batches(Numbers(4, broken=2), batch_size=2, seed=0)
    with pytest.raises(ValueError, match=r"cannot read file2\.png: replace it"):
        list(itertools.islice(batches, 4))
    with pytest.raises(ValueError, match=r"cannot read file2\.png: replace it"):
        list(pipeline.eval_batches(Numbers(4, broken=2), batch_size=2))


def test_evaluation_shows_everything_once_and_marks_the_filling():
    batches = list(pipeline.eval_batches(Numbers(10), batch_size=4))
    assert [positions(batch) for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 9, 9]]
    assert [batch["mask"].tolist() for batch in batches] == [[1] * 4, [1] * 4, [1, 1, 0, 0]]
    assert batches[0]["mask"].dtype == np.float32
    assert set(batches[0]) == {"image", "label", "mask"}


@pytest.mark.parametrize("count", [1, 3, 8, 9])
def test_evaluation_gives_every_host_as_many_batches(count):
    one = list(pipeline.eval_batches(Numbers(count), batch_size=4))
    hosts = [
        list(pipeline.eval_batches(Numbers(count), batch_size=4, process_index=i, process_count=4))
        for i in range(4)
    ]
    for whole, *shares in zip(one, *hosts, strict=True):
        for name in whole:
            np.testing.assert_array_equal(
                np.concatenate([share[name] for share in shares]), whole[name]
            )
    assert sum(batch["mask"].sum() for batch in one) == count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 4, "process_count": 3}, r"batch_size=4 .*process_count=3 .*multiple"),
        ({"batch_size": 0}, r"batch_size=0 .*positive multiple"),
        ({"batch_size": 4, "process_index": 2, "process_count": 2}, r"process_index=2: .*0 … 1"),
    ],
)
def test_numbers_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        pipeline.train_batches(Numbers(8), seed=0, **options)
    with pytest.raises(ValueError, match=message):
        pipeline.eval_batches(Numbers(8), **options)


def test_empty_source_and_bad_steps():
    with pytest.raises(ValueError, match="the source holds no examples"):
        pipeline.train_batches(Numbers(0), batch_size=1, seed=0)
    with pytest.raises(ValueError, match=r"seed=-1: must be 0"):
        pipeline.train_batches(Numbers(1), batch_size=1, seed=-1)
    with pytest.raises(ValueError, match=r"start_step=-3, .*must not be negative"):
        pipeline.train_batches(Numbers(1), batch_size=1, seed=0, start_step=-3)
