"""Settings of a local cluster: a head without work, and the Ray nodes of the two pools."""

from pydantic import Field

from common.settings import Settings, UserPath


class PoolSettings(Settings):
    """A pool of machines: each is a Ray node of this one."""

    nodes: int = Field(default=1, ge=1)
    """Nodes; each has the slots, CPUs and GPUs below."""
    slots: int = Field(default=1, ge=1)
    """Units of the resource `teacher_pool` or `student_pool`: it says where work may run, CPUs and GPUs how much."""
    cpus: int = Field(default=4, ge=1)
    """Logical CPUs that Ray schedules by; they needn't exist."""
    gpus: int = Field(default=0, ge=0)
    """GPUs of this machine given to each node."""


class ClusterSettings(Settings):
    """A cluster on this machine."""

    teacher: PoolSettings = PoolSettings()
    """The pool that serves."""
    student: PoolSettings = PoolSettings()
    """The pool that trains."""
    dashboard_port: int = Field(default=0, ge=0, le=65535)
    """Port of Ray's dashboard and jobs API on 127.0.0.1; 0 takes a free one."""
    serve_port: int = Field(default=0, ge=0, le=65535)
    """Port of the teacher's HTTP API on 127.0.0.1; 0 takes a free one."""
    object_store_mb: int = Field(default=100, ge=80)
    """Shared memory of each node, in megabytes: answers travel over HTTP, so little is needed."""
    start_timeout_s: float = Field(default=120, gt=0)
    """Longest wait for the cluster to come up."""
    logs: UserPath | None = None
    """Folder that receives Ray's logs at tear-down; without it they are deleted with the cluster."""
