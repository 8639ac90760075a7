"""Which figures cannot be computed, and why."""

from scam_jax.evaluation.data import EvaluationData
from scam_jax.evaluation.judges import Judges
from scam_jax.evaluation.results import AUTHORS, OURS, Missing
from scam_jax.evaluation.summary import DISTANCES

# Metric, protocol, and the judge that it needs.
_NEEDS = (
    ("LPIPS", OURS, "lpips"),
    *((metric, protocol, "inception") for metric, protocol, *_ in DISTANCES),
    ("REIDSim", OURS, "reid"),
    ("REIDAcc", OURS, "reid"),
)


def fid_protocols(judges: Judges, data: EvaluationData) -> tuple[str, ...]:
    """Returns the protocols whose FID can be computed: their real images have a covariance."""
    if "inception" not in judges:
        return ()
    return tuple(p for p in (AUTHORS, OURS) if len(data.real[p].source) > 1)


def missing_figures(judges: Judges, data: EvaluationData) -> list[Missing]:
    """Returns the metrics that lack a network or a second image, with the reason."""
    missing = [
        Missing(metric, protocol, line)
        for metric, protocol, judge in _NEEDS
        for line in judges.missing.get(judge, ())
    ]
    available = [need for need in _NEEDS if need[2] in judges]
    reason = "one training image has no covariance: FID and KID need two or more"
    protocols = fid_protocols(judges, data)
    for metric, protocol, judge in available:
        if judge == "inception" and protocol not in protocols:
            missing.append(Missing(metric, protocol, reason))
        if judge != "lpips" and len(data.source) < 2:
            missing.append(Missing(metric, protocol, "one image makes no pair"))
    return missing
