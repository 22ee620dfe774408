"""`python -m tests.faults.ongoing APPLICATION COUNT`: waits until a replica works on so many requests by its own count.

Prints a line when it begins to watch, then its actor's name. A process of its own, since Ray lets a process be
connected to one cluster only.
"""

import sys
import time

import ray
from ray.serve._private.constants import SERVE_NAMESPACE

LOOK_S = 0.1


def main(application: str, count: int) -> None:
    ray.init(log_to_driver=False)
    names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
    wanted = [name for name in names if name.startswith(f"SERVE_REPLICA::{application}#")]
    replicas = {name: ray.get_actor(name, SERVE_NAMESPACE) for name in wanted}
    print("watching", flush=True)
    while True:
        asked = [replica.get_num_ongoing_requests.remote() for replica in replicas.values()]
        counts: list[int] = ray.get(asked)
        for name, ongoing in zip(replicas, counts, strict=True):
            if ongoing >= count:
                print(name, flush=True)
                return
        time.sleep(LOOK_S)  # the replica can only be asked


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
