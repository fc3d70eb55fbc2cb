"""A stage as a pod: the chart's manifest, with this run's name, arguments and result container."""

from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.xcom_sidecar import PodDefaults
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException
from kubernetes.client import models as k8s

from ticklake_airflow.exit_codes import failure

SIDECAR_SECURITY = k8s.V1SecurityContext(
    allow_privilege_escalation=False,
    capabilities=k8s.V1Capabilities(drop=["ALL"]),
    read_only_root_filesystem=True,
    run_as_non_root=True,
    seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
)
_SIDECAR_RESOURCES = k8s.V1ResourceRequirements(
    requests={"cpu": "10m", "memory": "16Mi"}, limits={"cpu": "100m", "memory": "64Mi"}
)


class StagePodOperator(KubernetesPodOperator):
    """KubernetesPodOperator that knows a stage's exit codes.

    Exit code 2 fails the task without a retry, and the stage's last line is the task's error. The container that hands
    the result over runs in the stage's own image, so that a task needs no image but the platform's.
    """

    def build_pod_request_obj(self, context: Context | None = None, *, dry_run: bool = False) -> k8s.V1Pod:
        """The pod of this attempt."""
        pod = super().build_pod_request_obj(context, dry_run=dry_run)
        stage = next(each for each in pod.spec.containers if each.name == self.base_container_name)
        # An override that was not given is rendered to "": it must not hide the chart's value.
        given = {variable.name for variable in variables(self)}
        stage.env = [each for each in stage.env or () if each.name not in given or each.value or each.value_from]
        for sidecar in pod.spec.containers:
            if sidecar.name == PodDefaults.SIDECAR_CONTAINER_NAME:
                sidecar.image, sidecar.image_pull_policy = stage.image, stage.image_pull_policy
                sidecar.resources = _SIDECAR_RESOURCES
                sidecar.security_context = SIDECAR_SECURITY
        return pod

    def cleanup(
        self, pod: k8s.V1Pod, remote_pod: k8s.V1Pod, xcom_result: Any = None, context: Context | None = None
    ) -> None:
        """Remove the pod as asked and judge how the stage ended."""
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
        except AirflowException as error:
            code, output = ended(remote_pod, self.base_container_name)
            raise failure(self.task_id, code, output or str(error)) from error


def variables(operator: KubernetesPodOperator) -> list[k8s.V1EnvVar]:
    """The operator's variables, which a run has made models of."""
    return [each for each in operator.env_vars or () if isinstance(each, k8s.V1EnvVar)]


def ended(pod: k8s.V1Pod | None, container: str) -> tuple[int | None, str]:
    """Exit code and termination message of `container`; None and "" where it has not ended."""
    statuses = (pod.status.container_statuses if pod is not None and pod.status else None) or ()
    state = next((each.state.terminated for each in statuses if each.name == container and each.state), None)
    return (None, "") if state is None else (state.exit_code, state.message or "")
