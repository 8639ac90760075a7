"""Summarizes per-image values as figures."""

from collections.abc import Mapping, Sequence

import numpy as np

from scam_jax.evaluation import fid, kid, metrics
from scam_jax.evaluation.results import AUTHORS, OURS, Figure, Missing, of_label

# Per-image values `[N, ...]` of one kind of image, by name.
Arrays = dict[str, np.ndarray]
# Name of the values, name of the metric, unit, and whether a higher value is better.
_PER_IMAGE = (
    ("psnr", "PSNR", "dB", True),
    ("ssim", "SSIM", "", True),
    ("l1", "L1", "", False),
    ("lpips", "LPIPS", "", False),
)
# The real images of our protocol, whose features are of images resized with antialiasing.
CLEAN = "clean"
# Methods that transfer subjects, keyed by the name of their images; '' is the model, and `PARSED`
# the model with label maps of the parser.
PARSED = "parser's label maps"
METHODS = {"": "", "parsed": PARSED, "target": "target unchanged", "mean_colours": "mean colours"}


# Metric, protocol, the real images, the kind of generated images and the name of their features.
DISTANCES = (
    ("R-FID", AUTHORS, AUTHORS, "reconstruction", "truncated_features"),
    ("S-FID", AUTHORS, AUTHORS, "exchange", "truncated_features"),
    ("R-FID", OURS, OURS, "reconstruction", "features"),
    ("S-FID", OURS, OURS, "transfer", "features"),
    ("clean R-FID", OURS, CLEAN, "reconstruction", "clean_features"),
    ("clean S-FID", OURS, CLEAN, "transfer", "clean_features"),
    ("R-KID", OURS, OURS, "reconstruction", "features"),
    ("S-KID", OURS, OURS, "transfer", "features"),
)


def figures_of(
    seeds: Sequence[Mapping[str, Arrays]], real: Mapping[str, fid.Statistics], num_labels: int
) -> list[Figure]:
    """Computes all figures from per-image values.

    Args:
      seeds: per seed, the values of each kind of image: 'reconstruction' and, if available,
        'transfer', 'exchange' (the authors' transfers, first seed only) and 'known'.
      real: statistics of real images, keyed by protocol, and `CLEAN`; empty without Inception.
      num_labels: L.

    Returns:
      The figures. Those of single labels come last.
    """
    found = [_authors_psnr(seeds[0]["reconstruction"])]
    reconstructions = [arrays["reconstruction"] for arrays in seeds]
    for key, metric, unit, higher in _PER_IMAGE:
        if key in reconstructions[0]:
            found.append(_per_image(reconstructions, key, metric, unit, higher))
    found += _distances(seeds, real)
    if "to_subject" in seeds[0].get("transfer", {}):
        found += _recognition([arrays["transfer"] for arrays in seeds])
    if "known" in seeds[0]:
        found += _known_transfers([arrays["known"] for arrays in seeds])
    return found + _regions(reconstructions, num_labels)


def _authors_psnr(values: Arrays) -> Figure:
    errors = values["squared_error"]
    value = float("nan") if np.isposinf(errors).any() else metrics.authors_psnr(values)
    return Figure("PSNR", AUTHORS, (value,), "dB", count=int((~np.isnan(errors)).sum()))


def _per_image(
    seeds: Sequence[Arrays], key: str, metric: str, unit: str, higher: bool, part: str = ""
) -> Figure:
    """Averages over images.

    Images without a value (NaN, because they lack pixels) do not count. If one is infinitely bad,
    because it is not finite, there is no average.
    """
    values = [arrays[key][~np.isnan(arrays[key])].astype(np.float64) for arrays in seeds]
    count = len(values[0])
    worst = -np.inf if higher else np.inf
    means = tuple(
        float("nan") if len(v) == 0 or (v == worst).any() else float(v.mean()) for v in values
    )
    finite = count > 1 and np.isfinite(values[0]).all()
    spread = float(values[0].std(ddof=1)) if finite else None
    return Figure(metric, OURS, means, unit, higher, part, spread, count)


def _distances(
    seeds: Sequence[Mapping[str, Arrays]], real: Mapping[str, fid.Statistics]
) -> list[Figure]:
    """Computes FIDs and KIDs, which need two images or more."""
    figures = []
    for metric, protocol, images, kind, key in DISTANCES:
        features = [arrays[kind][key] for arrays in seeds if key in arrays.get(kind, {})]
        if images in real and features and len(features[0]) > 1:
            distance, unit = (_kid, "×10⁻³") if metric.endswith("KID") else (_fid, "")
            # Of images that are not finite, a distance has no value.
            values = tuple(
                distance(real[images], f) if np.isfinite(f).all() else float("nan")
                for f in features
            )
            count = len(features[0])
            figures.append(Figure(metric, protocol, values, unit, False, count=count))
    return figures


def _fid(real: fid.Statistics, features: np.ndarray) -> float:
    return fid.frechet_distance(real, fid.statistics(features))


def _kid(real: fid.Statistics, features: np.ndarray) -> float:
    return 1000 * kid.kernel_distance(real.kept, features)


def _recognition(seeds: Sequence[Arrays]) -> list[Figure]:
    """Computes ReID figures: similarity to the subject, and how often it beats the target's."""
    closer = [
        {"closer": (arrays["to_subject"] > arrays["to_target"]).astype(np.float64)}
        for arrays in seeds
    ]
    return [
        _per_image(seeds, "to_subject", "REIDSim", "", True),
        _per_image(closer, "closer", "REIDAcc", "", True),
    ]


def _known_transfers(seeds: Sequence[Arrays]) -> list[Figure]:
    figures = []
    for name, part in METHODS.items():
        if f"{name}/image" not in seeds[0]:
            continue
        given = seeds if name in ("", "parsed") else seeds[:1]
        for where, metric in (("image", "transfer PSNR"), ("subject", "subject transfer PSNR")):
            figures.append(_per_image(given, f"{name}/{where}", metric, "dB", True, part))
    return figures


def _regions(seeds: Sequence[Arrays], num_labels: int) -> list[Figure]:
    """Computes the PSNR of each label that occurs."""
    psnr = np.array([metrics.region_psnr(a["region_error"], a["region_pixels"]) for a in seeds])
    having = (seeds[0]["region_pixels"] > 0).sum(0)
    return [
        Figure(
            "PSNR",
            OURS,
            tuple(map(float, psnr[:, label])),
            "dB",
            True,
            of_label(label),
            count=int(having[label]),
        )
        for label in range(num_labels)
        if having[label]
    ]


def undefined(figures: Sequence[Figure]) -> list[Missing]:
    """Returns the figures of the whole split that have no value, as missing ones."""
    reason = "not a number: no image has the pixels that it needs, or images are not finite"
    return [
        Missing(f.metric, f.protocol, reason) for f in figures if np.isnan(f.mean) and not f.part
    ]


def noted_warnings(count: int, real: Mapping[str, fid.Statistics]) -> list[str]:
    """Returns warnings about FIDs of too few images, whose covariances are singular.

    Args:
      count: number of generated images.
      real: statistics of real images, keyed by protocol.
    """
    warnings = []
    for protocol in sorted(real.keys() & {AUTHORS, OURS}):
        statistics = real[protocol]
        needed = len(statistics.mean) + 1
        counts = {"generated": count, "real": statistics.count}
        few = [f"{n} {kind}" for kind, n in counts.items() if n < needed]
        if few:
            warnings.append(
                f"FID ({protocol}) is of {' and '.join(few)} images: a covariance of "
                f"{needed - 1} features needs {needed} or more, and with fewer is singular. The "
                "FID is then too high, and comparable only at equal numbers of images. KID has "
                "no such fault"
            )
    return warnings
