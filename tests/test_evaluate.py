"""Figures of a model: both protocols, any number of devices, what is missing, what is kept."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.evaluation import FewNumbers, evaluation_of, examples, known_transfers, noisy_model

from scam_jax.evaluation.data import RealImages, authors_partners, partners
from scam_jax.evaluation.results import AUTHORS, OURS, Evaluation, Figure
from scam_jax.evaluation.summary import PARSED, undefined
from scam_jax.inference import from_run, generation
from scam_jax.runs import run_folder, validation
from scam_jax.training import parser_step
from scam_jax.training.checkpoints import Checkpoints

ROLES = ("subject", "target")


@pytest.fixture
def evaluated():
    """`evaluation_of` with judges of a few numbers."""
    return functools.partial(evaluation_of, judges=FewNumbers())


@pytest.fixture(scope="module")
def model():
    return noisy_model()


def by_name(evaluation: Evaluation) -> dict:
    return {(f.metric, f.protocol, f.part): f for f in evaluation.figures}


def test_figures_are_those_of_the_images(model, evaluated, tmp_path):
    """Five images in padded batches, by hand."""
    people = examples(5)
    found = by_name(evaluated(model, tmp_path, people))
    image = np.concatenate([reconstruction(model, p, i) for i, p in enumerate(people)])
    target = np.stack([p["image"] for p in people]).astype(np.float64)
    exact = np.square(image - (target / 127.5 - 1)).mean()
    peak = (target.max() - target.min()) / 127.5
    authors = found["PSNR", AUTHORS, ""]
    assert authors.values == pytest.approx([10 * np.log10(peak**2 / exact)], rel=1e-4)
    errors = np.clip(np.round((image + 1) * 127.5), 0, 255) - target
    each = 10 * np.log10(255**2 / np.square(errors).mean((1, 2, 3)))
    ours = found["PSNR", OURS, ""]
    assert ours.values == pytest.approx([each.mean()], rel=1e-4)
    assert ours.spread == pytest.approx(each.std(ddof=1), rel=1e-3)
    assert ours.count == 5
    assert found["L1", OURS, ""].values == pytest.approx([np.abs(errors).mean() / 127.5], rel=1e-4)
    hair = np.stack([p["label"] for p in people]) == 2
    of_hair = 10 * np.log10(255**2 / np.square(errors)[hair].mean())
    assert found["PSNR", OURS, "label 2"].values == pytest.approx([of_hair], rel=1e-4)


def reconstruction(model, person, place):
    """One image as the evaluation has it: its noise is that of its place in the split."""
    image, labels = (person[key][None] for key in ("image", "label"))
    keys = generation.image_keys(0, np.array([place]))
    variables = model.variables
    return np.asarray(generation.reconstruct(model.networks, variables, image, labels, keys))


def test_figures_do_not_depend_on_devices_and_batches(model, evaluated, tmp_path):
    people, known = examples(9), known_transfers(3)
    one, eight = (
        evaluated(model, tmp_path / str(d), people, d, batch, 2, known)
        for d, batch in ((1, 4), (8, 8))
    )
    for a, b in zip(one.figures, eight.figures, strict=True):
        assert (a.metric, a.protocol, a.part, a.count) == (b.metric, b.protocol, b.part, b.count)
        assert a.values == pytest.approx(b.values, rel=1e-4, nan_ok=True), a
    kept_by = {f"eval/{OURS}/{metric}" for metric, _ in validation.BEST_BY.values()}
    assert kept_by <= one.scalars().keys(), "the best checkpoint is kept by one of these"
    assert {f.metric for f in one.figures} == {
        *("PSNR", "SSIM", "L1", "LPIPS", "R-FID", "S-FID", "REIDSim", "REIDAcc"),
        *("clean R-FID", "clean S-FID", "R-KID", "S-KID"),
        *("transfer PSNR", "subject transfer PSNR"),
    }


def test_seeds_draw_other_pairs_and_other_noise(model, evaluated, tmp_path):
    found = by_name(evaluated(model, tmp_path, examples(6), seeds=3))
    for metric in ("PSNR", "R-FID", "S-FID", "S-KID", "clean S-FID", "REIDSim"):
        assert len(set(found[metric, OURS, ""].values)) == 3, metric
    assert found["PSNR", OURS, ""].deviation > 0
    assert len(found["S-FID", AUTHORS, ""].values) == 1, "the authors had one"


def test_each_protocol_has_its_own_real_images_and_rounding(model, evaluated, tmp_path):
    people = examples(6)
    real = {
        AUTHORS: RealImages("augmented", examples(6, 4)),
        OURS: RealImages("as_it_is", examples(6, 5)),
    }
    found = by_name(evaluated(model, tmp_path, people, real=real))
    assert found["R-FID", AUTHORS, ""].values != found["R-FID", OURS, ""].values
    files = sorted(f.name for f in tmp_path.iterdir())
    assert files == [
        "as_it_is_rounded_clean_inception_abc.npz",
        "as_it_is_rounded_inception_abc.npz",
        "augmented_truncated_inception_abc.npz",
    ]


class Unreadable:
    """Images that must not be read."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        raise ValueError("the real images were read")


def test_statistics_of_real_images_are_computed_once(model, evaluated, tmp_path):
    people = examples(6)
    first = by_name(evaluated(model, tmp_path, people))
    unread = {p: RealImages(f"real_{p}", Unreadable()) for p in (AUTHORS, OURS)}
    again = by_name(evaluated(model, tmp_path, people, real=unread))
    assert again["R-FID", OURS, ""].values == first["R-FID", OURS, ""].values
    others = {p: RealImages(f"other_{p}", Unreadable()) for p in (AUTHORS, OURS)}
    with pytest.raises(ValueError, match="the real images were read"):
        evaluated(model, tmp_path, people, real=others)
    (tmp_path / "real_ours_rounded_inception_abc.npz").write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"real_ours_rounded_inception_abc.npz cannot be read"):
        evaluated(model, tmp_path, people, real=unread)


def test_too_few_images_for_a_covariance_are_said(model, evaluated, tmp_path):
    evaluation = evaluated(model, tmp_path, examples(6))
    assert len(evaluation.warnings) == 2
    assert "FID (ours) is of 6 generated and 6 real images" in evaluation.warnings[1]
    assert "needs 10 or more" in evaluation.warnings[1]
    real = {p: RealImages(f"many_{p}", examples(12, 3)) for p in (AUTHORS, OURS)}
    assert evaluated(model, tmp_path, examples(10), real=real).warnings == []


def test_without_weights_the_rest_is_computed(model, tmp_path):
    evaluation = evaluation_of(model, tmp_path, examples(3))
    found = by_name(evaluation)
    assert ("SSIM", OURS, "") in found
    assert not {"R-FID", "LPIPS", "REIDSim"} & {f.metric for f in evaluation.figures}
    reasons = {(m.metric, m.protocol): m.reason for m in evaluation.missing}
    assert len(reasons) == 11
    assert "weights-inception-2015-12-05-6726825d.pth" in reasons["R-FID", AUTHORS]
    assert "python -m scam_jax.weights frozen" in reasons["REIDAcc", OURS]


def test_one_image_makes_no_pair(model, evaluated, tmp_path):
    evaluation = evaluated(model, tmp_path, examples(1))
    missing = {(m.metric, m.protocol, m.reason) for m in evaluation.missing}
    assert ("S-FID", OURS, "one image makes no pair") in missing
    assert by_name(evaluation)["PSNR", OURS, ""].count == 1


def test_transfers_against_their_truth(model, tmp_path):
    found = by_name(evaluation_of(model, tmp_path, examples(3), transfers=known_transfers(3)))
    assert found["subject transfer PSNR", OURS, "target unchanged"].mean == np.inf
    painted = found["transfer PSNR", OURS, "mean colours"].mean
    assert painted > found["subject transfer PSNR", OURS, "mean colours"].mean
    assert np.isfinite(found["transfer PSNR", OURS, ""].mean)


class KnowsAll:
    """A parser whose label maps are the true ones, or of the first label only."""

    def __init__(self, known, is_right):
        self.known = {k[f"{r}_image"].tobytes(): k[f"{r}_label"] for k in known for r in ROLES}
        self.is_right = is_right

    def draw_batch(self, image):
        labels = [self.known[x.tobytes()] for x in np.asarray(image)]
        return jnp.asarray(np.stack(labels) * self.is_right)


def test_transfers_with_label_maps_of_a_parser(model, tmp_path):
    known = known_transfers(3)
    for is_right in (True, False):
        parser = KnowsAll(known, is_right)
        found = by_name(evaluation_of(model, tmp_path, examples(3), transfers=known, parser=parser))
        for metric in ("transfer PSNR", "subject transfer PSNR"):
            same = found[metric, OURS, ""].values == found[metric, OURS, PARSED].values
            assert same == is_right


def test_a_trained_parser_draws_on_all_devices(model, tmp_path):
    config = parser_step.parser_config(model.config)
    trained = parser_step.create(config)
    run_folder.record(model.config, tmp_path)
    run_folder.record(config, tmp_path / run_folder.PARSER)
    checkpoints = Checkpoints(tmp_path / run_folder.PARSER / run_folder.CHECKPOINTS)
    checkpoints.save(trained)
    checkpoints.close()
    parser = from_run.load_parser(tmp_path)
    known = known_transfers(2)
    people = examples(3)
    one, two = (
        by_name(evaluation_of(model, tmp_path, people, d, transfers=known, parser=parser))
        for d in (1, 2)
    )
    drawn = "transfer PSNR", OURS, PARSED
    assert two[drawn].values == pytest.approx(one[drawn].values, rel=1e-4)


def test_figures_survive_their_file(model, evaluated, tmp_path):
    evaluation = evaluated(model, tmp_path, examples(5), seeds=2, transfers=known_transfers(2))
    evaluation.save(tmp_path / "out")
    assert Evaluation.load(tmp_path / "out") == evaluation
    text = (tmp_path / "out" / "figures.md").read_text()
    assert "| R-FID |  | authors |" in text
    assert "| PSNR | 2 hair | ours |" in text
    assert "| subject transfer PSNR | target unchanged | ours | inf dB |" in text
    assert "- FID (ours) is of 5 generated" in text
    with pytest.raises(FileNotFoundError, match=r"figures.json is missing: run main.py"):
        Evaluation.load(tmp_path / "elsewhere")


def test_an_infinite_value_has_no_deviation():
    figures = [
        Figure("PSNR", OURS, (30.0, np.inf, 31.0), "dB", part="hat"),
        Figure("PSNR", OURS, (30.0, 32.0), "dB", part="hair"),
    ]
    text = Evaluation(7, "people", "test", 12, figures).markdown()
    assert "| PSNR | hat | ours | inf dB |" in text
    assert "| PSNR | hair | ours | 31 ± 1.4 dB |" in text


def test_partners():
    subjects = partners(50, seed=1)
    assert sorted(subjects) == list(range(50)), "each is a subject once"
    assert not np.any(subjects == np.arange(50)), "none is its own"
    np.testing.assert_array_equal(subjects, partners(50, seed=1))
    assert np.any(subjects != partners(50, seed=2))
    with pytest.raises(ValueError, match="pairs need two images or more, not 1"):
        partners(1, seed=0)


def test_authors_partners_are_of_the_same_eight():
    subjects = authors_partners(20, seed=0)
    assert [sorted(subjects[i : i + 8]) for i in (0, 8)] == [[*range(8)], [*range(8, 16)]]
    assert sorted(subjects[16:]) == [16, 17, 18, 19]
    stays = [np.any(authors_partners(8, seed) == np.arange(8)) for seed in range(20)]
    assert any(stays), "one may keep its latents"


def test_one_training_image_has_no_fid(model, evaluated, tmp_path):
    """The figure is listed as missing, and stops nothing."""
    real = {p: RealImages(f"one_{p}", examples(1, 3)) for p in (AUTHORS, OURS)}
    evaluation = evaluated(model, tmp_path, examples(3), real=real)
    reasons = {(m.metric, m.protocol): m.reason for m in evaluation.missing}
    assert "one training image" in reasons["R-KID", OURS]
    assert "one training image" in reasons["clean R-FID", OURS]
    for metric in ("R-FID", "S-FID"):
        for protocol in (AUTHORS, OURS):
            assert "one training image has no covariance" in reasons[metric, protocol]
    assert "PSNR" in {f.metric for f in evaluation.figures}


def test_a_figure_that_is_no_number_is_missing():
    figures = [Figure("PSNR", OURS, (20.0,)), Figure("LPIPS", OURS, (float("nan"),))]
    (missing,) = undefined(figures)
    assert (missing.metric, missing.protocol) == ("LPIPS", OURS)
    assert missing.reason.startswith("not a number: ")
