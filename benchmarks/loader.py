"""Images/s of the input pipeline at 256×256: `python -m benchmarks.loader`.

Makes a small download of CelebAMask-HQ's layout (photos of 1024×1024 with the spectrum of natural
images, masks of 512×512) and prepares it as training does; then reads shuffled batches of 32 from
what was prepared, and from the same photos as a folder, with 0, 1 and 2 workers. All settings run
in turn, several rounds; the median counts. Images/s are of the wall clock; images/s a core divide
by the CPU time of all processes instead.
"""

import dataclasses
import functools
import io
import itertools
import os
import pathlib
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator

import grain
import numpy as np
import tensorflow_datasets as tfds
from absl import app, flags
from PIL import Image

from benchmarks import inputs, timing
from data import augment, pipeline
from data.builders import celeba_mask_hq
from data.builders.celeba_mask_hq import CelebaMaskHq, CelebaMaskHqConfig
from data.folder import FolderSource
from data.sources import Mapped
from scam_jax.examples import Source
from scam_jax.inference.label_map import LabelMap

_ROUNDS = flags.DEFINE_integer("rounds", 5, "How often each is timed.")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes of the download and of what is read.

    Attributes:
      photo: height and width of a photo; its masks have half the size.
      image: height and width of a prepared image.
      batch: images per batch.
      photos: number of photos.
      batches: number of batches of a measurement and, before it, of those in which workers start
        and buffers fill, keyed by source. Multiples of four, because threads finish about four
        batches at the same time.
    """

    photo: int
    image: int
    batch: int
    photos: int
    batches: dict[str, tuple[int, int]]


REAL = Sizes(1024, 256, 32, 256, {"prepared": (64, 8), "folder": (12, 4)})
TOY = Sizes(64, 32, 2, 8, {"prepared": (4, 4), "folder": (4, 4)})


def photo(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise whose amplitude falls with 1 / frequency, as that of natural images does."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(3, size, size))) / frequency)
    noise = 128 + 50 * (noise / noise.std())
    return np.clip(noise, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def make_download(root: pathlib.Path, sizes: Sizes) -> None:
    """The official layout, with five parts a face, and the same as a folder data set."""
    rng = np.random.default_rng(0)
    images = root / "CelebAMask-HQ" / "CelebA-HQ-img"
    masks = root / "CelebAMask-HQ" / "CelebAMask-HQ-mask-anno" / "0"
    folder = root / "folder" / "train"
    for path in (images, masks, folder / "images", folder / "labels"):
        path.mkdir(parents=True)
    half = sizes.photo // 2
    rows, columns = np.mgrid[:half, :half]
    for number in range(sizes.photos):
        if number < 16:  # enough for the decoder, which has no memory
            encoded = io.BytesIO()
            Image.fromarray(photo(rng, sizes.photo)).save(encoded, "JPEG", quality=90)
            (images / f"{number}.jpg").write_bytes(encoded.getvalue())
        else:
            os.link(images / f"{number % 16}.jpg", images / f"{number}.jpg")
        os.link(images / f"{number}.jpg", folder / "images" / f"{number}.jpg")
        labels = np.zeros((half, half), np.uint8)
        for part in ("skin", "nose", "mouth", "hair", "cloth"):
            centre, radius = rng.uniform(100, 400, 2), rng.uniform(30, 200)
            distance = np.hypot(rows - centre[0] * half / 512, columns - centre[1] * half / 512)
            mask = distance < radius * half / 512
            Image.fromarray((mask * 255).astype(np.uint8)).save(masks / f"{number:05d}_{part}.png")
            labels[mask] = celeba_mask_hq.LABELS.index(part)
        Image.fromarray(labels).save(folder / "labels" / f"{number}.png")


def pair(record) -> dict[str, np.ndarray]:
    return {"image": record["image"], "label": record["label"]}


def sources(root: pathlib.Path, sizes: Sizes) -> dict[str, Source]:
    """The prepared data set and the folder; prints how long the preparation took."""
    config = CelebaMaskHqConfig(
        name="benchmark",
        description="",
        height=sizes.image,
        width=sizes.image,
        num_train=sizes.photos - 1,
        num_test=1,
    )
    builder = CelebaMaskHq(config=config, data_dir=root / "prepared")
    start = time.perf_counter()
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=root))
    seconds = time.perf_counter() - start
    size = sum(file.stat().st_size for file in pathlib.Path(builder.data_path).iterdir())
    speed, kilobytes = sizes.photos / seconds, size / sizes.photos / 1e3
    print(f"\nprepared {speed:.0f} images/s, {kilobytes:.0f} kB an image\n")
    return {
        "prepared": Mapped(builder.as_data_source(split="train"), pair),
        "folder": FolderSource(root / "folder", "train", LabelMap("", 19)),
    }


def cpu_seconds(children: set[int]) -> float:
    """CPU time so far of this process and of workers, by what the system counts for each."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    total = own.ru_utime + own.ru_stime
    tick = os.sysconf("SC_CLK_TCK")
    for child in children:
        fields = pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / tick
    return total


def child_processes() -> set[int]:
    tasks = pathlib.Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


def measure(batches: Iterator, count: int, warm_up: int) -> tuple[float, float]:
    """Batches/s of the wall clock and of CPU time."""
    for _ in itertools.islice(batches, warm_up):
        pass
    children = child_processes()
    cpu, start = cpu_seconds(children), time.perf_counter()
    for _ in itertools.islice(batches, count):
        pass
    seconds, cpu = time.perf_counter() - start, cpu_seconds(children) - cpu
    return count / seconds, count / cpu


def run(
    source: Source, name: str, augmentation: str, num_workers: int, sizes: Sizes
) -> tuple[float, float]:
    """Images/s of the wall clock and of CPU time."""
    batches = pipeline.train_batches(
        source,
        batch_size=sizes.batch,
        seed=0,
        augment=functools.partial(
            augment.TRAINING[augmentation], height=sizes.image, width=sizes.image
        ),
        num_workers=num_workers,
    )
    wall, core = measure(batches, *sizes.batches[name])
    batches.close()
    return wall * sizes.batch, core * sizes.batch


def decoding(source: Source) -> None:
    """What it costs to have an image, by how it is stored."""
    image = Image.fromarray(source[0]["image"])
    encoded = {}
    for kind in ("PNG", "JPEG"):
        encoded[kind] = io.BytesIO()
        image.save(encoded[kind], kind)
    reads = {
        "record of raw pixels, with its label map": lambda i: source[i % len(source)],
        "PNG (Pillow)": lambda i: np.asarray(Image.open(encoded["PNG"])),
        "JPEG (Pillow), not lossless": lambda i: np.asarray(Image.open(encoded["JPEG"])),
    }
    times: dict[str, list[float]] = {kind: [] for kind in reads}
    for _ in range(_ROUNDS.value):
        for kind, read in reads.items():
            start = time.perf_counter()
            for i in range(100):
                read(i)
            times[kind].append((time.perf_counter() - start) * 10)
    height, width = image.height, image.width
    print(f"| to have one {height}×{width} image | ms |\n|---|---|")
    for kind, values in times.items():
        print(f"| {kind} | {statistics.median(values):.2f} |")


def main(argv: list[str]) -> None:
    print(timing.heading("python -m benchmarks.loader"))
    print(f"grain {grain.__version__}, Pillow {Image.__version__}, NumPy {np.__version__}\n")
    sizes = TOY if inputs.TOY.value else REAL
    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(temporary)
        make_download(root, sizes)
        by_name = sources(root, sizes)
        decoding(by_name["prepared"])
        settings = [
            *itertools.product(["prepared"], ["none", "basic", "crop"], [0, 1, 2]),
            *itertools.product(["folder"], ["none"], [0, 1, 2]),
        ]
        if inputs.TOY.value:
            settings = settings[::5]  # both sources, with 0, 1 and 2 workers
        results: dict[tuple, list[tuple[float, float]]] = {setting: [] for setting in settings}
        for _ in range(_ROUNDS.value):
            for setting in settings:
                name, augmentation, num_workers = setting
                results[setting].append(run(by_name[name], name, augmentation, num_workers, sizes))
    print(
        "\n| source | augmentation | workers | images/s | images/s a core |\n|---|---|---|---|---|"
    )
    for (name, augmentation, num_workers), values in results.items():
        wall, core = (statistics.median(column) for column in zip(*values, strict=True))
        print(f"| {name} | {augmentation} | {num_workers} | {wall:.0f} | {core:.0f} |")


if __name__ == "__main__":
    app.run(main)
