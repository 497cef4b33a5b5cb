"""ECS: clusters and their instances, task definitions, and tasks.

Sentences of the API reference are as botocore carries them; those of the developer guide are as its public source,
github.com/awsdocs/amazon-ecs-developer-guide, has them.
"""

from . import ecs_clusters, ecs_definitions, ecs_instances, ecs_placement, ecs_strict, ecs_tasks  # noqa: F401  (they register their checks)
