"""A stage as a SparkApplication: the chart's manifest, with this run's name and arguments."""

import json
from pathlib import Path
from typing import Any

import yaml
from airflow.providers.cncf.kubernetes.operators.custom_object_launcher import CustomObjectLauncher
from airflow.providers.cncf.kubernetes.operators.spark_kubernetes import SparkKubernetesOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from kubernetes.client import ApiException
from kubernetes.client import models as k8s

from ticklake_airflow.exit_codes import failure
from ticklake_airflow.pod_tasks import ended, variables

_NOT_THERE = 404
_RETURN = "return_value"


class StageSparkOperator(SparkKubernetesOperator):
    """SparkKubernetesOperator that knows a stage's exit codes and takes its result from the driver.

    The driver writes its result to its container's termination message: an application has no place for the container
    by which pods hand theirs over.

    Args:
        manifest: file of the SparkApplication, without arguments.
        arguments: the application's arguments (templated).
        env_vars: further variables of the driver (templated); an empty value leaves the variable as it is.
        annotations: of the application (templated).
    """

    template_fields = [*SparkKubernetesOperator.template_fields, "arguments", "env_vars", "annotations"]  # noqa: RUF012  (as the base class)

    def __init__(self, *, manifest: Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.manifest = manifest

    def manage_template_specs(self) -> dict[str, Any]:
        """The application's manifest with this run's arguments."""
        body: dict[str, Any] = yaml.safe_load(self.manifest.read_text())
        body["spec"]["arguments"] = list(self.arguments)
        metadata = body.setdefault("metadata", {})
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **self.annotations}
        given = [{"name": each.name, "value": each.value} for each in variables(self) if each.value]
        if given:
            driver = body["spec"].setdefault("driver", {})
            names = {each["name"] for each in given}
            driver["env"] = [each for each in driver.get("env") or () if each["name"] not in names] + given
        return {"spark": body}

    def get_or_create_spark_crd(self, launcher: CustomObjectLauncher, context: Context) -> k8s.V1Pod:
        """Submit the application, or find the one that an earlier process of this attempt submitted."""
        try:
            return super().get_or_create_spark_crd(launcher, context)
        except (AirflowException, ApiException) as error:
            raise self._not_started(launcher, error) from error

    def _not_started(self, launcher: CustomObjectLauncher, error: AirflowException | ApiException) -> AirflowException:
        """Why the application did not come to run; it is removed, as nothing follows that would."""
        if not launcher.spark_obj_spec:
            if isinstance(error, ApiException) and error.status == _NOT_THERE:
                return AirflowFailException(
                    f"this cluster has no {launcher.plural}.{launcher.api_group}: is the Spark operator installed?"
                )
            return AirflowException(f"the SparkApplication was not accepted: {error}")
        # A driver that ends within seconds, on a wrong setting say, has ended before it was seen to run.
        code, output = ended(self._driver(launcher), self.BASE_CONTAINER_NAME)
        if self.delete_on_termination:
            launcher.delete_spark_job(self.name)  # type: ignore[no-untyped-call]
        if code is not None:
            return failure(self.task_id, code, output)
        return AirflowException(
            f"the SparkApplication {self.name} did not start within {self.startup_timeout_seconds} s: does the Spark "
            f"operator watch the namespace {self.namespace} (its value spark.jobNamespaces)? {error}"
        )

    def _driver(self, launcher: CustomObjectLauncher) -> k8s.V1Pod | None:
        try:
            return launcher.pod_manager.read_pod(launcher.pod_spec)
        except ApiException:
            return None

    def cleanup(
        self, pod: k8s.V1Pod, remote_pod: k8s.V1Pod, xcom_result: Any = None, context: Context | None = None
    ) -> None:
        """Take the result, remove the application as asked, and judge how the stage ended."""
        code, output = ended(remote_pod, self.BASE_CONTAINER_NAME)
        if code == 0 and output and context is not None:
            context["ti"].xcom_push(key=_RETURN, value=self._result(output))
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
        except AirflowException as error:
            raise failure(self.task_id, code, output or str(error)) from error

    def _result(self, output: str) -> Any:
        try:
            return json.loads(output)
        except ValueError:
            # Kubernetes keeps 4 KiB; the whole record is in the lake.
            self.log.warning("The result is too long for a termination message and was cut")
            return {"cut": output}
