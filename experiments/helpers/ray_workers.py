"""Start Ray and its workers, quietly, and share the CPU cores among them."""

import logging
import os
from contextlib import contextmanager
from pathlib import Path

EXPERIMENTS = Path(__file__).resolve().parents[1]


@contextmanager
def ray_workers(n_workers):
    """Start Ray here, or join the cluster at RAY_ADDRESS. The end of the block stops it or leaves it.

    Yields ray.data, and the arguments of `Dataset.map` for n_workers processes. Raises OSError if one fails.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry; Ray reads this on import
    import ray.data  # a slow import: only runs with work to do need it

    is_cluster = "RAY_ADDRESS" in os.environ
    local = {"address": "local", "num_cpus": n_workers, "object_store_memory": 2**27}  # bytes
    quiet = {"include_dashboard": False, "logging_level": logging.ERROR, "log_to_driver": False}
    ray.init(**({} if is_cluster else local), **quiet)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1  # no timeout: a part may take long

    n_cores = int(ray.cluster_resources()["CPU"]) if is_cluster else os.cpu_count()
    n_threads = max(1, n_cores // n_workers)
    env = {"OPENBLAS_NUM_THREADS": str(n_threads)}  # NumPy reads this on import
    env["PYTHONPATH"] = os.pathsep.join([str(EXPERIMENTS.parent), str(EXPERIMENTS)])
    workers = ray.data.ActorPoolStrategy(size=n_workers, max_tasks_in_flight_per_actor=1)  # no queues
    try:
        yield ray.data, {"compute": workers, "runtime_env": {"env_vars": env}}
    except ray.exceptions.RayError as error:
        raise OSError(f"a worker failed: {error}") from None
    finally:
        ray.shutdown()
