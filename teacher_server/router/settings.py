"""Settings of the router: which applications stand behind one address."""

from pydantic import Field

from common.settings import Settings, UserPath
from teacher_server.settings import LimitSettings


class RouterSettings(Settings):
    """Which applications stand behind one address."""

    applications: list[str] = Field(min_length=1)
    """Names of Serve applications; where two serve a model of the same name, the earlier one answers."""
    token_file: UserPath | None = None
    """As the applications' own: the router asks for an API key before it reads anything."""
    limits: LimitSettings = LimitSettings()
    """What a request may be; its body is held in memory until its application has it."""
    max_requests: int = Field(default=1024, ge=1)
    """Requests on their way at a time, per replica; the applications refuse earlier."""
    count: int = Field(default=1, ge=1)
    """Replicas of the router."""
    num_cpus: float = Field(default=0.1, ge=0)
    """CPUs that each reserves."""
    pool: str | None = "teacher_pool"
    """Custom resource of the nodes that may hold one."""
