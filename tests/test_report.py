"""Reports: the numbers in their tables, what is missing, and a page that stands alone."""

import json
import re

import numpy as np
import pytest
from helpers.small_report import COMMIT, Page, evaluate, fid, psnr, rows, write_run, written

from scam_jax import report
from scam_jax.evaluation.results import AUTHORS, OURS, Figure, Missing
from scam_jax.inference import label_orders
from scam_jax.report import pictures, runs
from scam_jax.report.__main__ import main, parse


@pytest.fixture
def study(tmp_path):
    """Two models of three seeds."""
    folder = tmp_path / "study"
    for seed in range(3):
        run = write_run(folder / "scam" / f"seed_{seed}", seed=seed)
        evaluate(
            run, psnr(20.0 + seed, 20.2 + seed), psnr(19.0 + seed, protocol=AUTHORS), fid(30.0)
        )
        run = write_run(folder / "one" / f"seed_{seed}", seed=seed, model__latents_per_label=1)
        evaluate(run, psnr(18.0, 18.0), psnr(17.0, protocol=AUTHORS), fid(25.0 + seed))
    return folder


def test_mean_and_deviation_over_training_seeds(study, tmp_path):
    markdown, page = written([study], tmp_path / "out")
    found = rows(markdown, "folder, 16×16 · test split · 16 images")
    # Runs are of means 20.1, 21.1, 22.1: deviations are over them, not over all six values.
    assert found["scam"] == ["3 (0, 1, 2)", "**20.00** ± 1.00", "30.00 ± 0.00", "**21.10** ± 1.00"]
    assert found["one"] == ["3 (0, 1, 2)", "17.00 ± 0.00", "**26.00** ± 1.00", "18.00 ± 0.00"]
    assert found["model"] == [
        "seeds",
        "PSNR, dB ↑<br>authors",
        "R-FID ↓<br>authors",
        "PSNR, dB ↑<br>ours",
    ]
    assert "Bold: best of a column" in page
    assert "<b>21.10</b>" in page
    assert "<b>26.00</b>" in page
    assert "<b>18.00</b>" not in page
    assert 'title="seed 0: 20.10, seed 1: 21.10, seed 2: 22.10"' in page
    assert "21.10 ± 1.00" in Page(page).cells


def test_deviation_of_one_run_is_said_to_be_of_its_evaluation(tmp_path):
    run = evaluate(write_run(tmp_path / "demo"), psnr(20.0, 20.002), fid(30.0))
    markdown, page = written([run], tmp_path / "out")
    found = rows(markdown, "folder, 16×16 · test split")
    assert found["demo"] == ["1 (0)", "30.00", "20.00 ± 0.001ᵉ"]
    assert "over the evaluation's seeds of one run" in Page(page).text
    assert "Bold: best of a column" not in page, "one model has nobody to be better than"


def test_runs_that_lack_a_figure_are_counted(study, tmp_path):
    evaluate(study / "scam" / "seed_2", psnr(22.0))
    (study / "one" / "seed_1" / "evaluation_test" / "figures.json").unlink()
    markdown, _ = written([study], tmp_path / "out")
    found = rows(markdown, "folder, 16×16 · test split")
    assert found["scam"][2] == "30.00 ± 0.00 (n = 2)"
    assert found["one"][0] == "2 of 3 (0, 2)"
    assert f"--mode=eval --workdir={study}/one/seed_1`" in markdown


def test_without_evaluation_the_command_is_given(tmp_path):
    run = write_run(tmp_path / "my run", metrics=[{"step": 2, "l1": 0.5}, {"step": 4, "l1": 0.4}])
    markdown, page = written([run], tmp_path / "out")
    command = f"python main.py --mode=eval --workdir='{run}'"
    assert "| my run | not evaluated |" in markdown
    line = "- **every metric of the test split**: not evaluated (my run)"
    assert f"{line}<br>`{command}`\n" in markdown
    assert 'alt="l1"' in page, "its curves are drawn"
    other = evaluate(write_run(tmp_path / "b", train__batch_size=8), psnr(20.0), split="validation")
    markdown, _ = written([run, other], tmp_path / "out")
    title = "folder, 16×16 · validation split"
    assert rows(markdown, title)["my run"] == ["not evaluated", "–"]
    assert f"`{command} --split=validation`\n" in markdown


CELEBA = {"data__name": "celeba_mask_hq", "data__height": 256, "data__width": 256}


def test_published_rows_stand_apart(tmp_path):
    run = write_run(tmp_path / "scam", **CELEBA)
    evaluate(run, psnr(21.0, protocol=AUTHORS), psnr(22.0), fid(16.0))
    evaluate(run, psnr(21.0, protocol=AUTHORS), split="validation")
    markdown, page = written([run], tmp_path / "out")
    found = rows(markdown, "celeba_mask_hq, 256×256 · test split")
    assert found["*SCAM (published)*"] == ["", "21.9", "15.5", "19.8", "–"]
    assert found["*INADE (published)*"][1] == "12.24"
    assert found["scam"] == ["1 (0)", "21.00", "16.00", "–", "22.00"]
    assert "Published: Dufour et al., ECCV 2022, poster." in page
    assert "(published)" not in str(rows(markdown, "celeba_mask_hq, 256×256 · validation split"))


def test_published_figures_of_another_size_are_not_shown(tmp_path):
    run = write_run(tmp_path / "scam", data__name="ade20k")
    markdown, _ = written([evaluate(run, psnr(21.0))], tmp_path / "out")
    assert "published for ADE20K are of 256×256 images, not 16×16: not shown" in markdown
    assert "(published)" not in markdown


def test_release_and_parser_within_a_run_are_no_runs(tmp_path):
    run = evaluate(write_run(tmp_path / "runs" / "scam"), psnr(20.0))
    for name in ("parser", "release"):
        (run / name).mkdir()
        (run / name / "config.json").write_text('{"data": {}}')
    (model,) = runs.read([tmp_path / "runs"])
    assert [r.folder for r in model.runs] == [run]


def test_a_folder_is_a_published_data_set_if_one_says_so(tmp_path):
    run = write_run(tmp_path / "scam", data__height=256, data__width=170)
    evaluate(run, Figure("REIDSim", OURS, (0.9,), count=16))
    assert "(published)" not in written([run], tmp_path / "out")[0]
    markdown, _ = written([run], tmp_path / "out", "idesigner")
    found = rows(markdown, "folder, 256×170 · test split")
    heads = dict(zip(found["model"], found["*SCAM (published)*"], strict=True))
    assert heads["REIDSim ↑<br>published"] == "0.81"
    assert heads["REIDSim ↑<br>ours"] == "–"
    assert dict(zip(found["model"], found["scam"], strict=True))["REIDSim ↑<br>published"] == "–"


def test_missing_figures_have_one_reason_for_all_they_concern(study, tmp_path):
    gone = [
        Missing(m, p, "no `inception.npz`") for p in (AUTHORS, OURS) for m in ("R-FID", "S-FID")
    ]
    for seed in range(3):
        evaluate(study / "scam" / f"seed_{seed}", psnr(20.0), missing=gone, warnings=["too few"])
    markdown, page = written([study], tmp_path / "out")
    line = "- **R-FID (authors), S-FID (authors), R-FID (ours), S-FID (ours)**: no `inception.npz`"
    assert markdown.count("inception.npz") == 1
    assert f"{line} (scam)" in markdown
    assert "- test: too few (scam)" in markdown
    assert "no <code>inception.npz</code>" in page


def test_transfers_stand_beside_what_needs_no_model(study, tmp_path):
    for seed in range(3):
        known = [psnr(17.0, metric="transfer PSNR"), psnr(16.0 + seed, metric="transfer PSNR")]
        painted = psnr(18.0, metric="transfer PSNR", part="mean colours")
        for model, figure in zip(("one", "scam"), known, strict=True):
            evaluate(study / model / f"seed_{seed}", psnr(20.0), figure, painted)
    markdown, _ = written([study], tmp_path / "out")
    found = rows(markdown.split("## Transfers")[1], "folder, 16×16 · test split")
    assert found["scam"] == ["3 (0, 1, 2)", "**17.00** ± 1.00"]
    assert found["*mean colours (no model)*"] == ["", "18.00"], "it is no model, and wins nothing"
    assert "transfer PSNR" not in rows(markdown, "folder, 16×16 · test split")["model"]


def test_regions_are_named_where_their_names_are_known(tmp_path):
    run = write_run(tmp_path / "scam", data__name="celeba_mask_hq", data__num_labels=19)
    regions = [psnr(10.0 + n, part=f"label {n}") for n in (2, 13)]
    evaluate(run, psnr(20.0), *regions, names=label_orders.CELEBA_MASK_HQ)
    markdown, _ = written([run], tmp_path / "out")
    found = rows(markdown.split("## PSNR by region")[1], "celeba_mask_hq")
    assert found["13 hair"] == ["16", "23.00"]
    assert [*found] == ["region", "2 nose", "13 hair"]


def test_config_differences(study, tmp_path):
    markdown, page = written([study], tmp_path / "out")
    assert "| key | one | scam |" in markdown
    assert "| `model.latents_per_label` | `1` | `2` |" in markdown
    differing, rest = markdown.split("## Configs")[1].split("<details>", 1)
    assert differing.count("\n| `") == 1, "the seed is no difference, nor is what all share"
    assert "| `train.batch_size` | `4` |" in rest
    assert "What all models share" in page


def test_differences_of_code_are_flagged(tmp_path):
    runs = [
        write_run(tmp_path / "a" / "seed_0"),
        write_run(tmp_path / "a" / "seed_1", seed=1, commit=f"{COMMIT}-dirty", jax="0.11.0"),
    ]
    for run in runs:
        evaluate(run, psnr(20.0), step=3)
    markdown, page = written(runs, tmp_path / "out")
    assert "- **commit** (differs):" in markdown
    assert f"  - {COMMIT}-dirty: a (seed 1)" in markdown
    assert "- **jax** (differs):" in markdown
    assert (
        "uncommitted changes: the commit alone does not reproduce the run (a (seed 1))" in markdown
    )
    assert "test: evaluated at step 3 of 4 (a)" in markdown
    assert page.count('class="flag"') == 2


def test_same_config_and_seed_by_two_names_stay_two_models(tmp_path):
    runs = [evaluate(write_run(tmp_path / n), psnr(v)) for n, v in (("old", 20.0), ("new", 21.0))]
    markdown, _ = written(runs, tmp_path / "out")
    assert rows(markdown, "folder, 16×16")["new"] == ["1 (0)", "**21.00**"]
    assert (
        "old and new have the same config and seeds: the config does not tell how they differ"
        in markdown
    )


def test_a_study_that_went_on_otherwise_is_one(tmp_path):
    """With more seeds, and with keys that may change freely; finished runs keep their configs."""
    study = tmp_path / "study" / "a"
    write_run(study / "seed_0", study__num_seeds=1)
    write_run(study / "seed_1", seed=1, study__num_seeds=2, data__num_workers=4, eval__every=9)
    (model,) = runs.read([tmp_path / "study"])
    assert [run.seed for run in model.runs] == [0, 1]


def test_curves(tmp_path):
    for seed in range(2):
        run = write_run(tmp_path / "study" / "a" / f"seed_{seed}", seed=seed)
        lines = [{"step": s, "l1": s + seed, "weight/l1": 10.0} for s in range(1, 402 + seed)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (run / "metrics.jsonl").write_text(text + '{"step": 500, "l1"')
    (model,) = runs.read([tmp_path / "study"])
    steps, mean, low, high = pictures.curve_of(model, "l1")
    assert len(steps) == 134, "401 steps that both have logged, by threes: 200 points at most"
    np.testing.assert_allclose(steps[:2], [2, 5])
    np.testing.assert_allclose([low[0], mean[0], high[0]], [2, 2.5, 3])
    assert steps[-1] == 400.5
    markdown, page = written([tmp_path / "study"], tmp_path / "out")
    assert "Constant, not drawn: weight/l1 = 10." in page
    assert "**Training losses · folder, 16×16**" in markdown
    assert "![l1](pictures/curves-0-0-l1.png)" in markdown


def test_page_stands_alone_and_escapes(tmp_path):
    name = "<script>alert(1)</script> $x$ | `y` *"
    run = write_run(
        tmp_path / name.replace("/", ":"),
        metrics=[{"step": s, '<img src="//x">$': s, "eval/ours/PSNR": s} for s in (1, 2)],
    )
    hostile = Missing("<b>", OURS, '"><script src="http://x"></script>')
    evaluate(run, psnr(20.0), missing=[hostile], warnings=["<iframe src='http://x'>"])
    markdown, page = written([run], tmp_path / "out")
    parsed = Page(page)
    assert not {"script", "iframe", "link", "object"} & {*parsed.tags}
    assert parsed.tags.count("img") == 4
    assert parsed.targets
    assert [t for t in parsed.targets if not t.startswith(("data:image/png;base64,", "#"))] == []
    assert any(name.replace("/", ":") in cell for cell in parsed.cells)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len({*ids})
    assert {t[1:] for t in parsed.targets if t.startswith("#")} <= {*ids}
    assert "<script" not in markdown
    linked = re.findall(r"\]\((pictures/[^)]+)\)", markdown)
    assert len(linked) == 4
    assert all((tmp_path / "out" / path).is_file() for path in linked)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", '{\n"seed": 0,\n', r"config\.json, line 3: not JSON"),
        ("config.json", '{"seed": 0}', r"config\.json: 'data\.name' is missing"),
        (
            "runs.jsonl",
            '{"commit": null}\n',
            r"runs\.jsonl, line 1: 'step' is missing",
        ),
        ("metrics.jsonl", '{"step": 1}\n{"step"\n', r"metrics\.jsonl, line 2: not JSON"),
        ("metrics.jsonl", '{"step": 1, "l1": "x"}\n', r"metrics\.jsonl, line 1: 'l1' is not a num"),
        ("evaluation_test/figures.json", '{\n"step":', r"figures\.json, line 2: not JSON"),
        ("evaluation_test/figures.json", "{}", r"figures\.json is not what an evaluation writes"),
        ("evaluation_test/reconstruction.png", "x", r"reconstruction\.png is damaged .*mode=eval"),
    ],
)
def test_damaged_files_are_named(tmp_path, file, text, message):
    run = evaluate(write_run(tmp_path / "a"), psnr(20.0))
    (run / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        report.write([run], tmp_path / "out")


def test_runs_that_contradict_each_other_are_named(tmp_path):
    a = write_run(tmp_path / "1" / "a")
    b = write_run(tmp_path / "2" / "a", train__batch_size=8)
    named = (
        f"{a} and {b} are both named 'a', but their configs differ in train.batch_size (4 and 8)"
    )
    with pytest.raises(ValueError, match=re.escape(named)):
        report.write([a, b], tmp_path / "out")
    twice = write_run(tmp_path / "3" / "a")
    with pytest.raises(ValueError, match="same config and seed 0: give one of them"):
        report.write([a, twice], tmp_path / "out")
    report.write([a, tmp_path / "1"], tmp_path / "out")  # one folder, found twice


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar", "--published=cifar: there is no such data set; use one of idesigner,"),
        ("ade20k", "--published=ade20k .*but the runs are of x and y: report them apart"),
    ],
)
def test_impossible_published_data_sets(tmp_path, name, message):
    runs = [write_run(tmp_path / d, data__directory=d) for d in ("x", "y")]
    with pytest.raises(ValueError, match=message):
        report.write(runs, tmp_path / "out", name)
    synthetic = write_run(tmp_path / "z", data__name="synthetic_people")
    with pytest.raises(ValueError, match=r"no run has data\.name = 'folder'|no such data"):
        report.write([synthetic], tmp_path / "out", name)


def test_command(study, tmp_path, capsys):
    def run(*arguments):
        main(parse(["report", *map(str, arguments)]))

    run(study, f"--output={tmp_path / 'out'}")
    assert capsys.readouterr().out == f"wrote {tmp_path / 'out' / 'report.html'}\n"
    (tmp_path / "empty").mkdir()
    message = "empty is no run and holds none: there is no config.json"
    with pytest.raises(SystemExit, match="1"):
        run(study, tmp_path / "empty")
    assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match="1"):
        run(tmp_path / "nowhere")
    assert "nowhere: there is no such folder" in capsys.readouterr().err


def test_changes_during_training_are_listed_with_their_step(tmp_path):
    changes = {200: {"losses.l1": [10.0, 3.0]}, 300: {"train.batch_size": [4, 8]}}
    run = write_run(tmp_path / "scam", changes=changes)
    markdown, _ = written([run], tmp_path / "report")
    table = markdown.split("Changes during training", 1)[1]
    assert re.search(r"200.*losses\.l1.*10\.0.*3\.0", table)
    assert re.search(r"300.*train\.batch_size.*4.*8", table)
    other = write_run(tmp_path / "other")
    assert "Changes during" not in written([other], tmp_path / "report of other")[0]


def test_a_run_s_time_and_goodput(tmp_path):
    run = write_run(tmp_path / "scam")
    start = json.loads((run / "runs.jsonl").read_text())
    start |= {"began": 0, "reached": 4, "seconds": {"start": 20.0, "step": 80.0}}
    (run / "runs.jsonl").write_text(json.dumps(start) + "\n")
    markdown, _ = written([run], tmp_path / "out")
    assert "goodput 80% (start 20%)" in markdown
