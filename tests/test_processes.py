"""Which environments start several processes; two of them train, stop and go on as one."""

import json
import shutil
import signal
import sys

import pytest
from helpers.closeness import assert_trees_close
from helpers.evaluation import (
    FewNumbers,
    evaluation_of,
    examples,
    known_transfers,
    noisy_model,
)
from helpers.program import (
    ROOT,
    Process,
    command,
    ended,
    free_port,
    restored,
    run,
    saved_checksums,
    start,
    start_two,
    train_command,
    wait_for,
    wait_until,
)

from scam_jax.devices import launchers, processes
from scam_jax.evaluation.results import Evaluation

# As srun sets them for one of the tasks, here 16 on two nodes.
JOB = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "16", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
STEP = JOB | {"SLURM_STEP_NODELIST": "node[1-2]", "SLURM_STEP_NUM_NODES": "2"}
SRUN = STEP | {"SLURM_STEP_NUM_TASKS": "16"}
MPIRUN = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
ORTE = {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911"}
# JAX sets it where it finds no TPU.
NO_TPU = {"TPU_SKIP_MDS_QUERY": "1"}
ALL, ONE_EACH = True, False


@pytest.mark.parametrize(
    ("environment", "platforms", "expected"),
    [
        pytest.param(NO_TPU, None, None, id="a laptop"),
        pytest.param(JOB, None, None, id="the script of sbatch, or a shell of salloc"),
        pytest.param(
            STEP | {"SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_NUM_TASKS": "1"},
            None,
            None,
            id="a shell of salloc that is a step of its own; srun of one task",
        ),
        pytest.param(SRUN, None, ("slurm", ONE_EACH), id="srun, a task a GPU"),
        pytest.param(
            SRUN | {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"},
            None,
            ("slurm", ONE_EACH),
            id="srun, a task a GPU, all visible",
        ),
        pytest.param(
            SRUN | {"CUDA_VISIBLE_DEVICES": "0"},
            None,
            ("slurm", ALL),
            id="srun, a task a GPU, --gpus-per-task=1",
        ),
        pytest.param(
            SRUN | {"SLURM_STEP_NUM_TASKS": "2", "CUDA_VISIBLE_DEVICES": "0,1,2,3"},
            None,
            ("slurm", ALL),
            id="srun, a task a node",
        ),
        pytest.param(SRUN, "cpu", ("slurm", ONE_EACH), id="srun without GPUs"),
        pytest.param(MPIRUN | ORTE, None, ("ompi", ONE_EACH), id="mpirun"),
        pytest.param(SRUN | MPIRUN | ORTE, None, ("ompi", ONE_EACH), id="mpirun within srun"),
        pytest.param(
            MPIRUN | ORTE | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"},
            None,
            ("ompi", ALL),
            id="mpirun, a process a node",
        ),
        pytest.param({"OMPI_COMM_WORLD_SIZE": "1"}, None, None, id="mpirun of one"),
        pytest.param({}, "tpu,cpu", ("gcetpu", ALL), id="a TPU VM, alone or of a slice"),
        pytest.param({}, "cpu", None, id="a TPU VM with JAX_PLATFORMS=cpu"),
        pytest.param(NO_TPU, "tpu", None, id="JAX_PLATFORMS=tpu without a TPU"),
        pytest.param({"TPU_WORKER_HOSTNAMES": "localhost"}, "tpu,cpu", None, id="GKE, one host"),
        pytest.param(
            {"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "1"},
            "tpu,cpu",
            ("gketpu", ALL),
            id="GKE, a slice",
        ),
        pytest.param(
            {"TPU_WORKER_HOSTNAMES": "localhost", "MEGASCALE_NUM_SLICES": "2"},
            "tpu,cpu",
            ("gketpu", ALL),
            id="GKE, slices of one host",
        ),
        pytest.param({"TPU_PROCESS_ADDRESSES": "local"}, "tpu,cpu", None, id="a notebook's TPU"),
        pytest.param(
            NO_TPU | {"TPU_WORKER_HOSTNAMES": "a,b", "MEGASCALE_NUM_SLICES": "2"},
            None,
            None,
            id="a TPU's variables without a TPU",
        ),
        pytest.param(
            {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"},
            None,
            None,
            id="a pod of Kubernetes, which may well be on its own",
        ),
    ],
)
def test_what_started_several_processes(environment, platforms, expected):
    launcher = launchers.find_launcher(environment, platforms)
    assert launcher == (expected and launchers.Launcher(*expected))


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (MPIRUN, r"Open MPI 5 .* --coordinator=HOST:PORT .*\$OMPI_COMM_WORLD_RANK"),
        ({"PMI_SIZE": "2"}, r"PMI_SIZE = 2: .* MPI that JAX does not know: .*\$PMI_RANK"),
        ({"SLURM_STEP_NUM_TASKS": "two"}, "SLURM_STEP_NUM_TASKS = 'two' .* not a number: unset"),
    ],
)
def test_several_processes_that_jax_cannot_find(environment, message):
    with pytest.raises(ValueError, match=message):
        launchers.find_launcher(environment, None)


@pytest.mark.parametrize(
    ("variables", "rank", "local_rank"),
    [
        (
            STEP
            | {"SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_NUM_TASKS": "2"}
            | {"SLURM_NTASKS": "2"},
            "SLURM_PROCID",
            "SLURM_LOCALID",
        ),
        (
            {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
            | {"OMPI_MCA_orte_hnp_uri": "4096.0;tcp://127.0.0.1:34911"},
            "OMPI_COMM_WORLD_RANK",
            "OMPI_COMM_WORLD_LOCAL_RANK",
        ),
    ],
    ids=["srun", "mpirun"],
)
def test_jax_joins_what_the_launcher_names(variables, rank, local_rank):
    script = "from scam_jax.devices import launchers, processes; processes.join(None, None, None)"
    script += "; import jax; print(jax.process_index(), 'of', jax.process_count())"
    port = {"JAX_COORDINATOR_PORT": str(free_port())}
    started = [
        start(
            [sys.executable, "-c", script],
            devices=1,
            variables=variables | port | {rank: str(i), local_rank: str(i)},
            kind=Process,
        )
        for i in range(2)
    ]
    written = [text for text, _ in wait_for(started)]
    assert ["0 of 2" in written[0], "1 of 2" in written[1]] == [True, True], written


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("a:1", None, 0), "--num_processes missing: give --coordinator=HOST:PORT"),
        (("a:1", None, None), "--num_processes and --process_id missing"),
        ((None, 2, 0), "--coordinator missing"),
        (("node0", 2, 0), "--coordinator=node0: use HOST:PORT, .* such as node0:1234"),
        ((":1234", 2, 0), "--coordinator=:1234: use HOST:PORT"),
        (("node0:port", 2, 0), "--coordinator=node0:port: use HOST:PORT"),
        (("node0:70000", 2, 0), "--coordinator=node0:70000: use HOST:PORT"),
        (("node0:1234", 0, 0), "--num_processes=0: use 1 or more"),
        (("node0:1234", 2, 2), "--process_id=2: use 0 … 1 with --num_processes=2"),
        (("node0:1234", 2, -1), "--process_id=-1: "),
    ],
)
def test_wrong_flags(flags, message):
    with pytest.raises(ValueError, match=message):
        processes.from_flags(*flags)


def test_no_flags_and_right_ones():
    assert processes.from_flags(None, None, None) is None
    given = processes.from_flags("[::1]:1234", 2, 1)
    assert given == {"coordinator_address": "[::1]:1234", "num_processes": 2, "process_id": 1}


def test_the_first_ctrl_c_is_noted_and_a_second_one_would_end():
    before = signal.getsignal(signal.SIGINT)
    with processes.StopRequest() as stop:
        assert not stop.reached(1)
        signal.raise_signal(signal.SIGINT)
        assert stop.reached(2)
        assert stop.signal == signal.SIGINT
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == before


def test_the_program_refuses_before_it_begins(tmp_path):
    arguments = ["--mode=eval", f"--workdir={tmp_path}", "--coordinator=node0:1234"]
    refused = run(command(*arguments), check=False)
    assert refused.returncode == 1
    assert "--num_processes and --process_id missing" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.fixture(scope="module")
def of_two(photos, tmp_path_factory):
    """A run of two processes with a device each: one is told to stop, then both go on."""
    workdir = tmp_path_factory.mktemp("two")
    # A checkpoint a step takes time, which it takes the processes to agree on where to stop.
    arguments = train_command(photos, workdir, "--config.train.checkpoint_every=1")
    metrics = workdir / "metrics.jsonl"
    with ended(start_two(arguments)) as stopped:
        wait_until(lambda: metrics.exists() and '"step": 1' in metrics.read_text(), stopped)
        stopped[1].send_signal(signal.SIGTERM)
        for _, log in wait_for(stopped, code=128 + signal.SIGTERM):
            assert "stopped and saved at step" in log
    at_stop = max(int(f.name) for f in (workdir / "checkpoints").iterdir() if f.name.isdigit())
    assert 1 <= at_stop < 8, "the run was to be stopped in the middle"
    logs = [log for _, log in wait_for(start_two(arguments))]
    assert all(f"resuming from step {at_stop}" in log for log in logs)
    assert "process 1 of 2, 1 local of 2 devices (cpu)" in logs[1]
    return workdir


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on_as_one(of_two, request):
    """The same mesh as the finished run's of one process, which was not stopped."""
    # Last: another worker may be training it.
    finished = request.getfixturevalue("finished")
    ours, theirs = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (of_two, finished)
    )
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-5)
    assert_trees_close(restored(of_two).params, restored(finished).params, atol=2e-5)
    assert_trees_close(restored(of_two).ema, restored(finished).ema, atol=2e-5)


@pytest.mark.slow
def test_two_processes_get_past_a_damaged_checkpoint(photos, of_two, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(of_two, workdir)
    checkpoint = workdir / "checkpoints" / "8"
    before = saved_checksums(checkpoint)
    file = max(checkpoint.rglob("d/*"), key=lambda f: f.stat().st_size)  # of arrays
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    options = ("--config.train.checkpoint_every=1", "--config.eval.every=0")
    for _, log in wait_for(start_two(train_command(photos, workdir, *options))):
        assert "resuming from step 7" in log
    assert checkpoint.with_name("8.damaged").is_dir()
    assert saved_checksums(checkpoint) == before


@pytest.mark.slow
def test_two_processes_evaluate_as_one(of_two):
    """The one has more devices than the training batch has images."""
    found = []
    for devices in (2, 8):
        arguments = command("--mode=eval", f"--workdir={of_two}")
        if devices == 2:
            wait_for(start_two(arguments))
        else:
            run(arguments, devices=devices)
        found.append(Evaluation.load(of_two / "evaluation_test").figures)
    for a, b in zip(*found, strict=True):
        assert a.values == pytest.approx(b.values, rel=1e-5), a.metric


@pytest.mark.slow
def test_two_processes_get_every_figure_of_one(tmp_path):
    """FID, ReID and transfers too; the second has no statistics file, and gets the first's."""
    address = f"127.0.0.1:{free_port()}"
    script = [sys.executable, "tests/helpers/evaluating_process.py", address]
    path = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    commands = [[*script, str(i), str(tmp_path)] for i in range(2)]
    wait_for([start(command, variables=path, kind=Process) for command in commands])
    alone = evaluation_of(
        noisy_model(),
        tmp_path / "alone",
        examples(5),
        devices=2,
        seeds=2,
        transfers=known_transfers(3),
        judges=FewNumbers(),
    )
    for index in ("0", "1"):
        for name in ("first", "second"):
            found = Evaluation.load(tmp_path / index / name).figures
            for a, b in zip(found, alone.figures, strict=True):
                assert (a.metric, a.part, a.count) == (b.metric, b.part, b.count)
                assert a.values == pytest.approx(b.values, rel=1e-4), a
    assert [*(tmp_path / "0").glob("*.npz")]
    assert not [*(tmp_path / "1").glob("*.npz")]


@pytest.mark.slow
def test_one_of_two_processes_draws(of_two):
    arguments = command("--mode=gallery", f"--workdir={of_two}", "--count=1")
    written = [text for text, _ in wait_for(start_two(arguments))]
    assert f"wrote {of_two / 'gallery.png'}\n" in written[0]
    assert "wrote" not in written[1]
