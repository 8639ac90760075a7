"""The Fréchet distance against SciPy's matrix root, and the kernel distance."""

import numpy as np
import pytest
import scipy.linalg

from scam_jax.evaluation import fid, kid


def features(count, width=12, seed=0):
    random = np.random.default_rng(seed)
    mixed = random.standard_normal((count, width)) @ random.standard_normal((width, width))
    return (mixed + random.standard_normal(width)).astype(np.float32)


def by_scipy(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    difference = a.mean(0) - b.mean(0)
    traces = np.trace(covariances[0]) + np.trace(covariances[1])
    return difference @ difference + traces - 2 * np.trace(root).real


@pytest.mark.parametrize(("count", "other"), [(200, 300), (3000, 50)])
def test_distance_equals_scipys(count, other):
    a, b = features(count, seed=1), features(other, seed=2)
    distance = fid.frechet_distance(fid.statistics(a), fid.statistics(b))
    assert distance == pytest.approx(by_scipy(a, b), rel=1e-9)


def test_distance_to_itself_is_zero_also_of_singular_covariances():
    few = fid.statistics(features(5))
    assert few.is_singular
    assert fid.frechet_distance(few, few) == pytest.approx(0, abs=1e-5)
    many = fid.statistics(features(13))
    assert not many.is_singular


def test_known_distance():
    """Of two Gaussians with the same directions: Σ (μ₁ − μ₂)² + (σ₁ − σ₂)²."""
    a = fid.Statistics(np.array([1.0, 2.0]), np.diag([4.0, 9.0]), 100, np.zeros((0, 2)))
    b = fid.Statistics(np.array([0.0, 2.0]), np.diag([1.0, 0.0]), 100, np.zeros((0, 2)))
    assert fid.frechet_distance(a, b) == pytest.approx(1 + 1 + 9)


def test_sums_do_not_lose_digits():
    """A small spread about a large mean, over many rows."""
    x = (1e4 + np.random.default_rng(0).standard_normal((5000, 3))).astype(np.float32)
    found = fid.statistics(x)
    np.testing.assert_allclose(found.covariance, np.cov(x.astype(np.float64), rowvar=False))


def test_some_features_are_kept_evenly():
    few, many = features(5), features(2500)
    np.testing.assert_array_equal(fid.statistics(few).kept, few)
    kept = fid.statistics(many).kept
    assert len(kept) == 1000
    np.testing.assert_array_equal(kept[[0, -1]], many[[0, -1]])


def test_kernel_distance_is_the_same_in_parts(monkeypatch):
    a, b = np.random.default_rng(0).normal(size=(2, 23, 4))
    whole = kid.kernel_distance(a, b[:17])
    monkeypatch.setattr(kid, "_MOST_PAIRS", 50)
    assert kid.kernel_distance(a, b[:17]) == pytest.approx(whole, rel=1e-12)


def test_kernel_distance_is_unbiased():
    """Sets of one distribution are zero apart on average, however few; of others they are not."""
    random = np.random.default_rng(0)
    pairs = random.standard_normal((400, 2, 4, 6))
    distances = np.array([kid.kernel_distance(*pair) for pair in pairs])
    assert abs(distances.mean()) < 3 * distances.std() / 20
    assert kid.kernel_distance(pairs[0, 0], pairs[0, 1] + 3) > 10 * distances.std()
    with pytest.raises(ValueError, match="two images or more of each kind, not 4 and 1"):
        kid.kernel_distance(pairs[0, 0], pairs[0, 1, :1])


def test_one_image_has_no_covariance():
    with pytest.raises(ValueError, match="two images or more, not 1"):
        fid.statistics(features(1))


def test_statistics_survive_their_file(tmp_path):
    found = fid.statistics(features(20))
    found.save(tmp_path / "deep" / "s.npz")
    loaded = fid.Statistics.load(tmp_path / "deep" / "s.npz")
    np.testing.assert_array_equal(loaded.covariance, found.covariance)
    assert loaded.count == 20
    (tmp_path / "empty.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"empty.npz cannot be read \(.*\): remove it"):
        fid.Statistics.load(tmp_path / "empty.npz")
    again = fid.Statistics.of_flat(found.flat().view(np.uint32).view(np.float64), len(found.mean))
    np.testing.assert_array_equal(again.covariance, found.covariance)
    np.testing.assert_array_equal(again.mean, found.mean)
    for statistics in (loaded, again):
        np.testing.assert_array_equal(statistics.kept, found.kept)
    assert again.count == 20
    assert [f.name for f in (tmp_path / "deep").iterdir()] == ["s.npz"]
