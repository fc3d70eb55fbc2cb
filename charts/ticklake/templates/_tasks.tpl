{{/* What Airflow submits for one program, complete but for its name, arguments and labels. Arguments: root, stage. */}}
{{- define "ticklake.task.pod" -}}
apiVersion: v1
kind: Pod
metadata:
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "ticklake.stageLabels" . | nindent 4 }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "ticklake.fullname" .root }}-{{ .stage }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: 15
  securityContext:
    {{- include "ticklake.podSecurity" (index (include "ticklake.stages" .root | fromYaml) .stage).image | nindent 4 }}
  {{- with include "ticklake.placement" .root }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
    - {{- include "ticklake.container" (dict "root" .root "stage" .stage "name" "base") | nindent 6 }}
  volumes:
    {{- include "ticklake.volumes" . | nindent 4 }}
{{- end -}}

{{- define "ticklake.task.spark" -}}
apiVersion: sparkoperator.k8s.io/v1beta2
kind: SparkApplication
metadata:
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "ticklake.stageLabels" . | nindent 4 }}
spec:
  {{- include "ticklake.spark.spec" . | nindent 2 }}
  # Airflow tries again, with the same run.
  restartPolicy:
    type: Never
  timeToLiveSeconds: {{ .root.Values.airflow.finishedSecondsToLive }}
{{- end -}}
