"""Compiles the training step for a TPU pod that need not exist, and reports what it needs.

  python -m scam_jax.cost --config=configs/celeba.py --topology=v5e:16x16 \\
      --config.train.batch_size=4096 --config.model.dtype=bfloat16

Prints memory, FLOPs, the time of a step at the chip's peaks and the traffic between chips, and with
--slices=2 that between slices. Exits with status 1 if there is a problem, such as a step that does
not fit into memory. The compiler works at its lowest effort, unless the variable
JAX_EXEC_TIME_OPTIMIZATION_EFFORT is set; at the default of 0.0 it takes five times as long, and the
step moves fewer bytes.
"""

from absl import app, flags

from scam_jax import console
from scam_jax.cost import aot, aot_report
from scam_jax.runs import command_line

_TOPOLOGY = flags.DEFINE_string("topology", None, f"The chips of a slice: {aot.EXAMPLES}.")
_SLICES = flags.DEFINE_integer("slices", 1, "Number of slices, joined by their hosts.", 1)


def main(given: command_line.CommandLine) -> int:
    """Compiles the step, prints the report, and returns the exit status."""
    if given.rest or given.config is None or _TOPOLOGY.value is None:
        raise app.UsageError("give --config=configs/NAME.py and a topology: --topology=v5e:16x16")
    with console.ended_by_one_line("python -m scam_jax.cost"):
        report = aot.compile_for(given.config, _TOPOLOGY.value, _SLICES.value)
    print(aot_report.details(report), flush=True)
    return 1 if aot_report.problems(report) else 0


if __name__ == "__main__":
    aot.restart_prepared()
    app.run(main, flags_parser=command_line.parse)
