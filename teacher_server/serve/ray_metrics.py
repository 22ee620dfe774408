"""Our metrics in Ray's: the dashboard and each node's Prometheus port show them beside vLLM's."""

from ray import serve
from ray.util import metrics as ray_metrics

from teacher_server.engine.metrics import METRICS, Metric

OWN_TAGS = ("application", "replica")


class RayRecorder:
    """Records into Ray's metrics, within a Serve replica, tagged with its application and its name."""

    def __init__(self) -> None:
        context = serve.get_replica_context()
        tags = {"application": context.app_name, "replica": context.replica_tag}
        self._metrics = {name: _ray_metric(name, metric) for name, metric in METRICS.items()}
        for ray_metric in self._metrics.values():
            ray_metric.set_default_tags(tags)

    def record(self, name: str, value: float, **tags: str) -> None:
        """Add `value` to a counter, set a gauge to it, or observe it in a histogram."""
        metric = self._metrics[name]
        if isinstance(metric, ray_metrics.Counter):
            metric.inc(value, tags)
        elif isinstance(metric, ray_metrics.Gauge):
            metric.set(value, tags)
        else:
            metric.observe(value, tags)


def _ray_metric(name: str, metric: Metric) -> ray_metrics.Counter | ray_metrics.Gauge | ray_metrics.Histogram:
    tags = (*metric.tags, *OWN_TAGS)
    if metric.kind == "counter":
        return ray_metrics.Counter(name, metric.description, tags)
    if metric.kind == "gauge":
        return ray_metrics.Gauge(name, metric.description, tags)
    return ray_metrics.Histogram(name, metric.description, list(metric.boundaries), tags)
