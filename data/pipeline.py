"""Batches as a function of the step, so that an interrupted run continues exactly.

The order of the examples and their augmentation depend only on the seed. The batch of a step does
not depend on the number of hosts (each host reads a contiguous share of it), on the number of
workers, or on whether the run was interrupted before.
"""

import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator

import grain
import numpy as np

from scam_jax.examples import Example, Source

Augment = Callable[[Example, np.random.Generator], Example]

# Number of threads that read ahead if there are no worker processes.
_THREADS = 4


def unchanged(example: Example, rng: np.random.Generator) -> Example:
    """Returns the example itself: no augmentation."""
    return example


def train_batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    augment: Augment = unchanged,
    start_step: int = 0,
    num_steps: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
) -> Generator[Example, None, None]:
    """Returns this host's share of the shuffled training batches, beginning at `start_step`.

    Each epoch has its own order. Batches continue across the end of an epoch, so every example is
    used and the source may be smaller than a batch. The augmentation of an example depends on the
    seed, the epoch and the index of the example in the source.

    Args:
      source: the examples, such as `{'image': uint8 [H, W, 3], 'label': uint8 [H, W]}`.
      batch_size: number of examples in a batch, over all hosts.
      seed: seed of the order and of the augmentation, 0 … 2³² − 1.
      augment: augmentation of one example, given a random generator for that example. All results
        must have the same shapes.
      start_step: step of the first batch. A resumed run gets the batches of an uninterrupted one.
      num_steps: number of batches; if None, the batches do not end.
      process_index: index of this host.
      process_count: number of hosts that share each batch.
      num_workers: number of processes that read ahead; with 0, threads of this process do.

    Returns:
      An iterator of batches: stacked examples, `[batch_size // process_count, ...]`. Close it if
      you do not read it to the end. It raises the errors of the source unchanged.

    Raises:
      ValueError: the arguments are invalid or do not fit together, or the source is empty.
    """
    share = _host_share(source, batch_size, process_index, process_count)
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed}: must be 0 … 2**32 - 1")
    if start_step < 0 or (num_steps is not None and num_steps < 0):
        raise ValueError(f"start_step={start_step}, num_steps={num_steps}: must not be negative")
    shuffled = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat()
    examples = shuffled.map_with_index(_Read(source, augment, seed))
    # These batches have the size of a share. The shares of one global batch are consecutive.
    batches = examples.batch(share, drop_remainder=True)[process_index::process_count]
    stop = None if num_steps is None else start_step + num_steps
    return _read_ahead(batches[start_step:stop], num_workers)


def eval_batches(
    source: Source,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
) -> Generator[Example, None, None]:
    """Returns this host's share of batches that contain every example once, in order.

    The last batch is padded with the last example, so that all batches have the same size and all
    hosts have the same number of batches.

    Args:
      source: the examples; all have the same shapes.
      batch_size: number of examples in a batch, over all hosts.
      process_index: index of this host.
      process_count: number of hosts that share each batch.
      num_workers: number of processes that read ahead; with 0, threads of this process do.

    Returns:
      An iterator of batches: stacked examples, `[B, ...]` with B = batch_size // process_count, and
      'mask', float32 `[B]`: 1 for an example, 0 for padding. Close it if you do not read it to the
      end.

    Raises:
      ValueError: see `train_batches`.
    """
    share = _host_share(source, batch_size, process_index, process_count)
    last = len(source) - 1

    def read(step: int) -> Example:
        positions = step * batch_size + process_index * share + np.arange(share)
        # A host's share may consist of padding alone: read the padding only once.
        examples = {int(i): source[int(i)] for i in np.unique(np.minimum(positions, last))}
        chosen = [examples[min(int(i), last)] for i in positions]
        batch = {name: np.stack([example[name] for example in chosen]) for name in chosen[0]}
        return batch | {"mask": (positions <= last).astype(np.float32)}

    return _read_ahead(grain.MapDataset.range(last // batch_size + 1).map(read), num_workers)


@dataclasses.dataclass(frozen=True)
class _Read:
    """Reads and augments the example at a position of the endless, shuffled sequence."""

    source: Source
    augment: Augment
    seed: int

    def __call__(self, position: int, index: int) -> Example:
        epoch = position // len(self.source)
        return self.augment(self.source[index], np.random.default_rng((self.seed, epoch, index)))


def _host_share(source: Source, batch_size: int, process_index: int, process_count: int) -> int:
    """Returns the number of examples in one host's share of a batch."""
    if len(source) == 0:
        raise ValueError("the source holds no examples: there is nothing to batch")
    if batch_size < 1 or process_count < 1 or batch_size % process_count:
        raise ValueError(
            f"batch_size={batch_size} cannot be shared by process_count={process_count} hosts: "
            "make it a positive multiple of the number of hosts"
        )
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index={process_index}: must be 0 … {process_count - 1}")
    return batch_size // process_count


def _read_ahead(batches: grain.MapDataset, num_workers: int) -> Generator[Example, None, None]:
    threads = 0 if num_workers else _THREADS
    # Grain's default of 500 elements is too many, because an element is a whole batch here.
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    batches = batches.to_iter_dataset(options)
    if num_workers:
        ahead = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2)
        # Copy out of the memory shared with the worker: JAX may hold on to a batch, which would
        # keep the worker from ending.
        batches = batches.mp_prefetch(ahead, worker_init_fn=_start_worker).map(_copy)
    return _explained(iter(batches))


def _explained(batches: grain.DatasetIterator[Example]) -> Generator[Example, None, None]:
    """Yields the batches; says what may have ended a process that reads them.

    Raises:
      ChildProcessError: such a process has ended.
    """
    try:
        yield from batches
    except RuntimeError as error:
        if "terminated unexpectedly" not in str(error):
            raise
        said = str(error).split(". ")[0]
        raise ChildProcessError(
            f"a process that reads the data has ended ({said}), by a signal or for want of memory: "
            "the same command resumes from the last checkpoint; if this happens again, lower "
            "config.data.num_workers"
        ) from error


def _copy(batch: Example) -> Example:
    return {name: np.array(array) for name, array in batch.items()}


def _start_worker(worker: int, count: int) -> None:
    # These reach the whole process group, but only the main process should act on them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Grain's workers would outlive a main process that is killed.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
