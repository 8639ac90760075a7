"""What training at CelebAMask-HQ's size needs on TPU pods: `make pod-check` writes pod.md.

Compiles the training step for each pod below, which takes minutes, and needs no TPU.
"""

import datetime
import importlib.metadata
import pathlib
import sys

from configs import celeba
from scam_jax.cost import aot, aot_report

OUTPUT = pathlib.Path(__file__).with_suffix(".md")
# Topology, number of slices, and what differs from configs/celeba.py.
PROGRAMS = [
    ("v5e:16x16", 1, {"train.batch_size": 4096}),
    ("v5e:16x16", 1, {"train.batch_size": 8192, "train.rematerialize": True}),
    ("v5e:16x16", 2, {"train.batch_size": 8192}),
    ("v5p:4x4x4", 1, {"train.batch_size": 4096}),
    ("v6e:16x16", 1, {"train.batch_size": 4096}),
]
INTRODUCTION = """# The training step on TPU pods

{date}, {versions}; compiled without a TPU:

    make pod-check

The training step of `configs/celeba.py` in bfloat16, compiled by the TPU's compiler for the whole
pod, at its lowest effort. Operations are the compiler's estimate. *GB* are what instructions read
from and write to the memory; what stays in the memory on the chip costs nothing there. *At its
peaks* is what both allow at the chip's published peaks (`scam_jax/cost/chips.py`); it is no
measurement. At the default effort, as a pod compiles it, the step moves fewer bytes (RESULTS.md).
All-reduces are the only collectives unless the details say otherwise. *2 ×* is two slices, joined
by the data center's network: gradients are summed within each, every chip exchanges its share of
the sums with the other slice, and the sums are gathered within each.

"""


def compile_programs() -> list[aot_report.Report]:
    """Compiles all programs, saying when each is done.

    Raises:
      ModuleNotFoundError: the TPU's compiler is not installed.
    """
    reports = []
    for topology, slices, changes in PROGRAMS:
        config = celeba.get_config()
        config.update_from_flattened_dict({"model.dtype": "bfloat16", **changes})
        reports.append(aot.compile_for(config, topology, slices))
        print(aot_report.details(reports[-1]), flush=True)
    return reports


def page(reports: list[aot_report.Report]) -> str:
    """The Markdown page of all reports: a table, then the details of each."""
    versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("jax", "libtpu"))
    introduction = INTRODUCTION.format(date=datetime.date.today(), versions=versions)
    table = aot_report.HEADER + "".join(map(aot_report.row, reports))
    return "\n".join([introduction + table, *map(aot_report.details, reports)])


def main() -> None:
    try:
        reports = compile_programs()
    except ModuleNotFoundError as error:
        sys.exit(str(error))
    OUTPUT.write_text(page(reports))
    print(f"wrote {OUTPUT}")
    sys.exit(1 if any(map(aot_report.problems, reports)) else 0)


if __name__ == "__main__":
    aot.restart_prepared()
    main()
