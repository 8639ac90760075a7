"""Published metrics of SCAM and the methods it is compared with.

Source: Dufour, Picard, Kalogeiton, "SCAM! Transferring humans between images with Semantic Cross
Attention Modulation", ECCV 2022, table of the poster. All values are of the test split.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from scam_jax.evaluation.results import AUTHORS

SOURCE = "Dufour et al., ECCV 2022, poster"
# The protocol of the published ReID metrics: how their pairs were drawn was never released.
PUBLISHED = "published"
# Protocol, metric, unit, and whether higher is better.
_METRICS = (
    (AUTHORS, "PSNR", "dB", True),
    (AUTHORS, "R-FID", "", False),
    (AUTHORS, "S-FID", "", False),
    (PUBLISHED, "REIDSim", "", True),
    (PUBLISHED, "REIDAcc", "", True),
)
# Name in the paper and size of the images, in the order of the columns of `_PRINTED`.
DATA_SETS: Mapping[str, tuple[str, str]] = {
    "idesigner": ("iDesigner", "256×170"),
    "celeba_mask_hq": ("CelebAMask-HQ", "256×256"),
    "ade20k": ("ADE20K", "256×256"),
}
# One line per method: for each data set, the values of the first of `_METRICS` as printed.
_PRINTED = """
    SCAM       | 21.4 13.2 26.9 0.81 0.56 | 21.9  15.5 19.8 | 20.0 27.5
    SEAN       | 14.9 53.5 58.7 0.74 0.30 | 16.2  18.9 22.8 | 14.6 47.6
    INADE      | 12.0 33.0 33.9 0.72 0.34 | 12.24 22.7 23.4 | 11.3 48.6
    SEAN-CLADE | 15.3 48.4 56.1 0.75 0.31 | 16.2  19.8 24.3 | 14.0 38.7
    CLADE      | 11.3 45.4 46.1 0.68 0.29 | 10.8  41.8 42.0 | 10.4 53.7
    SPADE      | 10.4 66.7 67.5 0.67 0.26 | 10.9  38.2 38.3 | 10.7 59.7
"""


def rows_beside(
    config: Mapping[str, Any], split: str, of_folders: str | None
) -> tuple[dict[str, dict[tuple, str]], str]:
    """Returns the published rows that are comparable with runs.

    Args:
      config: of the runs, by dotted key.
      split: of their evaluation.
      of_folders: key in `DATA_SETS` for runs with data.name = 'folder'.

    Returns:
      Printed values by method and by (protocol, metric, unit, higher is better), and a remark;
      both empty if the paper has no such data.
    """
    name = config["data.name"].removesuffix("_sean")  # SEAN's version: same images
    key = of_folders if name == "folder" else name
    if key is None or key not in DATA_SETS or split != "test":
        return {}, ""
    title, size = DATA_SETS[key]
    given = f"{config['data.height']}×{config['data.width']}"
    if size != given:
        remark = f"The metrics published for {title} are of {size} images, not {given}"
        return {}, f"{remark}: not shown."
    rows = {}
    for line in _PRINTED.strip().splitlines():
        method, *printed = line.split("|")
        values = printed[[*DATA_SETS].index(key)].split()
        rows[f"{method.strip()} (published)"] = dict(zip(_METRICS, values, strict=False))
    return rows, f"Published: {SOURCE}."


def check_key(of_folders: str, configs: Sequence[Mapping[str, Any]]) -> None:
    """Raises ValueError if `of_folders` is no key of `DATA_SETS` or does not fit the runs."""
    flag = f"--published={of_folders}"
    if of_folders not in DATA_SETS:
        known = ", ".join(DATA_SETS)
        raise ValueError(f"{flag}: there is no such data set; use one of {known}")
    folders = {c["data.directory"] for c in configs if c["data.name"] == "folder"}
    if not folders:
        raise ValueError(f"{flag}: no run has data.name = 'folder'; leave it out")
    names = sorted(folders - {""})
    if len(names) > 1:
        both = " and ".join(names)
        raise ValueError(f"{flag} is one folder, but the runs are of {both}: report them apart")
