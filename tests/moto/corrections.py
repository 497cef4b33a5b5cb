"""What moto does otherwise than AWS, as far as it stops the tool: each deviation once, here. README.md lists them."""

import copy
import os

ENDED = "Essential container in task exited"


def settings():
    """AWS's managed policies, which every account has. moto has them too, but loads them only where this is set before its
    IAM is first used."""
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"


def ec2():
    """Volumes of launched instances."""
    from moto.ec2.responses.instances import InstanceResponse

    run = InstanceResponse.run_instances

    def run_instances(self):
        """EbsBlockDevice's Throughput, which a volume keeps. moto forgets what is asked for, and the volume has none."""
        answer = run(self)
        for mapping in self._get_param("BlockDeviceMappings", []):
            for instance in answer.result.instances:
                volume = instance.block_device_mapping[mapping["DeviceName"]].volume_id
                self.ec2_backend.volumes[volume].throughput = mapping["Ebs"].get("Throughput")
        return answer

    InstanceResponse.run_instances = run_instances


def ecs():
    """The container agent's part of ECS."""
    from moto.core.responses import ActionResult
    from moto.core.utils import utcnow
    from moto.ecs import models
    from moto.ecs.responses import EC2ContainerServiceResponse as Responses

    class Task(models.Task):
        """By SubmitTaskStateChange an agent tells that a task's status changed: a task is what its agent last said. In
        moto a task runs at once, stops when it has been described four times, and has the exit code 0 before it has
        begun."""

        __module__ = models.__name__  # moto reads the service from it

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self._status = "PENDING"
            for container in self.containers:
                container.exitCode = None

        @property
        def status(self):
            return self._status

        @status.setter
        def status(self, value):
            self._status = value

    models.Task = Task

    def container_changed(task, change):
        container = next(one for one in task.containers if one.name == change["containerName"])
        container.last_status = change["status"]
        container.exitCode = change.get("exitCode")
        container.reason = change.get("reason")

    def submit_container_state_change(self):
        """moto has no such operation."""
        names = ("containerName", "status", "exitCode", "reason")
        container_changed(task_of(self), {name: self._get_param(name) for name in names})
        return ActionResult({"acknowledgment": "acknowledged"})

    def submit_task_state_change(self):
        """moto has no such operation."""
        task, status = task_of(self), self._get_param("status")
        for change in self._get_param("containers") or []:
            container_changed(task, change)
        if status == "RUNNING":
            task.started_at = utcnow()
        if status == "STOPPED" and task.last_status != "STOPPED":
            stopped(self, task)
        task.last_status = status
        return ActionResult({"acknowledgment": "acknowledged"})

    def task_of(self):
        cluster = self._get_param("cluster", "default").split("/")[-1]
        return self.ecs_backend.tasks[cluster][self._get_param("task")]

    def stopped(self, task):
        """A stopped task's resources are free again, as moto has it for StopTask."""
        backend, cluster = self.ecs_backend, self.ecs_backend.clusters[task.cluster_name]
        task.desired_status = "STOPPED"
        task.stopped_at = utcnow()
        never = all(container.exitCode is None for container in task.containers)
        task.stop_code = "TaskFailedToStart" if never else "EssentialContainerExited"
        task.stopped_reason = self._get_param("reason") or ENDED
        backend.update_cluster_resources(cluster, -1, task_state="RUNNING")
        host = backend.container_instances[cluster.name].get(task.container_instance_arn.split("/")[-1])
        if host is not None:
            backend.update_container_instance_resources(host, task.resource_requirements, removing=True)

    registered = Responses.register_container_instance

    def register_container_instance(self):
        """ContainerInstance's registeredResources, which are what its agent registers. moto gives every instance 4096 CPU
        units and 7482 MiB, whatever its agent says, and a larger task is placed nowhere."""
        answer = registered(self)
        instance = answer.result["containerInstance"]
        instance.registered_resources = self._get_param("totalResources")
        instance.remaining_resources = copy.deepcopy(instance.registered_resources)
        return answer

    Responses.submit_container_state_change = submit_container_state_change
    Responses.submit_task_state_change = submit_task_state_change
    Responses.register_container_instance = register_container_instance
