"""Claims of speed, one script each. Their processes are set up as that of main.py."""

from scam_jax import host_memory

host_memory.keep_freed()  # before JAX is imported
host_memory.compute_on_calling_thread()
