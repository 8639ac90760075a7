"""Batches whose content is a function of the step, so that a run resumes where it stopped.

The order of the examples and their augmentation depend on the seed alone: the batch of step s is
the same on any number of hosts (each takes its contiguous share), with any number of workers, and
whether or not the run was interrupted before it.
"""

import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable

import grain
import numpy as np

from scam_jax.examples import Example, Source

Augment = Callable[[Example, np.random.Generator], Example]

# Threads that read ahead where there are no worker processes.
_THREADS = 4


def unchanged(example: Example, rng: np.random.Generator) -> Example:
    """The augmentation of examples that are to be batched as they are."""
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
) -> grain.DatasetIterator[Example]:
    """Returns this host's share of the shuffled batches from `start_step` on.

    The examples are shuffled anew in each epoch; batches run on across the end of an epoch, so none
    is left out and a source may be smaller than a batch. What augmentation does to an example
    depends on the seed, the epoch and the example's index in the source.

    Args:
        source: the examples, such as `{'image': uint8 [H, W, 3], 'label': uint8 [H, W]}`.
        batch_size: examples in a batch of all hosts together.
        seed: of the order of the examples and of their augmentation, 0 … 2³² − 1.
        augment: gets an example and random numbers of its own; the shapes of all it returns agree.
        start_step: step of the first batch; a run resumed there gets what it would have got.
        num_steps: how many batches; endless if None.
        process_index: number of this host.
        process_count: how many hosts share each batch.
        num_workers: processes that read ahead; 0 reads ahead in threads of this process.

    Returns:
        An iterator of batches, to be closed if it is left early: the examples stacked,
        `[batch_size // process_count, ...]`.

    Raises:
        ValueError: if the numbers do not fit together, or the source is empty. An error of the
            source comes out of the iterator as it is.
    """
    share = _host_share(source, batch_size, process_index, process_count)
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed}: must be 0 … 2**32 - 1")
    if start_step < 0 or (num_steps is not None and num_steps < 0):
        raise ValueError(f"start_step={start_step}, num_steps={num_steps}: must not be negative")
    shuffled = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat()
    examples = shuffled.map_with_index(_Read(source, augment, seed))
    # Batches of one host's size: the hosts' shares of a global batch lie next to each other.
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
) -> grain.DatasetIterator[Example]:
    """Returns this host's share of all examples, once and in order.

    The last batch is filled up with the last example, so that every batch has the same size and
    every host the same number of batches.

    Args:
        source: the examples, all of the same shapes.
        batch_size: examples in a batch of all hosts together.
        process_index: number of this host.
        process_count: how many hosts share each batch.
        num_workers: processes that read ahead; 0 reads ahead in threads of this process.

    Returns:
        An iterator of batches, to be closed if it is left early: the examples stacked, `[b, ...]`
        with b = batch_size // process_count, and 'mask', float32 `[b]`: 1 for an example, 0 for
        filling.

    Raises:
        ValueError: as `train_batches`.
    """
    share = _host_share(source, batch_size, process_index, process_count)
    last = len(source) - 1

    def read(step: int) -> Example:
        positions = step * batch_size + process_index * share + np.arange(share)
        # Filling is not read again and again: a host's share may be nothing but filling.
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
    """Returns how many examples of a batch are one host's."""
    if len(source) == 0:
        raise ValueError("the source holds no examples: there is nothing to make batches of")
    if batch_size < 1 or process_count < 1 or batch_size % process_count:
        raise ValueError(
            f"batch_size={batch_size} cannot be shared by process_count={process_count} hosts: "
            "make it a positive multiple of the number of hosts"
        )
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index={process_index}: must be 0 … {process_count - 1}")
    return batch_size // process_count


def _read_ahead(batches: grain.MapDataset, num_workers: int) -> grain.DatasetIterator[Example]:
    threads = 0 if num_workers else _THREADS
    # Grain counts elements, and an element is a whole batch here: its default of 500 is too many.
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    batches = batches.to_iter_dataset(options)
    if num_workers:
        ahead = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2)
        # Out of the memory shared with the worker, whose end JAX might put off by holding on to it.
        batches = batches.mp_prefetch(ahead, worker_init_fn=_start_worker).map(_copy)
    return iter(batches)


def _copy(batch: Example) -> Example:
    return {name: np.array(array) for name, array in batch.items()}


def _start_worker(worker: int, count: int) -> None:
    # Ctrl-C reaches the whole process group; only the main process is to act on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Where that is killed, Grain's workers would stay.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
