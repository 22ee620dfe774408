"""Where a step's time went: counts of all workers together, the longest times among them.

On a GPU the host runs ahead of the device, and waits for it in two places: where the means of the loss are read, after
the backward pass, and where the norm of the gradient is. So `time/compute_s` ends with the backward pass on the device
too; of `time/optimizer_s` the update itself is launched only, and ends on the device inside the next step's compute.
Nothing waits for the device to be measured.
"""

import time

from student_trainer.data.plan import PrefetchStats, StepExamples
from student_trainer.distributed.process_group import ProcessGroup


def times_of(step: StepExamples, met: float, computed: float, world: ProcessGroup) -> dict[str, float]:
    """`time/` and `pipeline/` of the step that ends now: the largest of all workers'.

    All workers had their examples at `met`, and this one its gradient at `computed`, by `time.perf_counter`.
    `time/outage_s` is what the step would have been spared if each had waited as long as some teacher was well.
    """
    now = time.perf_counter()
    times = world.maxima(
        {
            "time/step_s": now - step.began,
            "time/waited_s": step.waited_s,
            "waited_else": max(0.0, step.waited_s - (step.teacher.outage_s if step.teacher else 0.0)),
            "time/stream_s": step.stream_s,
            "time/compute_s": computed - met,
            "time/optimizer_s": now - computed,
            **(_depths(step.prefetch) if step.prefetch else {}),
        }
    )
    times["time/outage_s"] = times["time/waited_s"] - times.pop("waited_else")
    if step.prefetch and step.prefetch.replicas is not None:
        times["pipeline/replicas"] = step.prefetch.replicas
    return times


def counts_of(step: StepExamples) -> dict[str, float]:
    """`pipeline/` of this worker, to be added up over all."""
    if step.prefetch is None:
        return {}
    return {"pipeline/in_flight": step.prefetch.in_flight, "pipeline/ready": step.prefetch.ready}


def _depths(ahead: PrefetchStats) -> dict[str, float]:
    return {
        "pipeline/window": ahead.window,
        "pipeline/window_limit": ahead.window_limit,
        "pipeline/latency_s": ahead.latency_s,
        "pipeline/staleness": ahead.staleness,
    }
