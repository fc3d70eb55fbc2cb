{{/*
Every program of the platform, and the least that it needs. The rest of the chart is made from this table: accounts,
Kafka rights, store policies, network flows, the manifests that Airflow submits.

  image      key of .Values.images
  runs       deployment, pod (submitted by Airflow), spark (submitted by Airflow), stream (a SparkApplication that runs
             on), job or history (of the chart itself)
  single     of a deployment: two at a time would do the same work twice
  ports      of a deployment, by name, besides that of its metrics
  env        name: value, secretEnv name: {secret, key}; those of .Values.stages take precedence
  config     volume, path and checksum of the ConfigMap of its name that it reads files from
  kafka      read, write, describe: topics; groups: consumer groups; watch: groups whose progress is read
  store      read, write, delete: prefixes that end in "/", or keys; what can be read can be listed
  metadata   Airflow's database
  catalog    as whom it signs in to the catalog of the tables: writer or reader. Their files, of metadata too, lie below
             tables/ in the store
  s3a        the prefixes that are reached through Hadoop's S3A, which looks at parent folders and uploads in parts
  warehouse  whether it goes there
  internet   ports of addresses outside the cluster
*/}}
{{- define "ticklake.stages" -}}
{{- $live := include "ticklake.live" . | fromYaml -}}
{{- $records := printf "%s_checkpoints/" $live.processed -}}
{{- /* A writer of a table removes the oldest version of its metadata, and Spark's fails where it may not. */ -}}
{{- $versions := "tables/*.metadata.json" -}}
{{- $events := ternary ", spark-events/" "" .Values.spark.history.enabled -}}
fetch-historical:
  image: fetch-historical
  runs: pod
  kafka:
    write: [stock_market_batch, stock-market-quarantine]
  store:
    read: [raw/source/, held/, tables/, "lineage/run_id=*/failures/"]
    write: [raw/source/, "quarantine/run_id=*/", "lineage/run_id=*/fetch-historical.json", "lineage/run_id=*/failures/fetch-historical.json"]
  catalog: reader
  internet: [443]
consume-historical:
  image: consume-historical
  runs: pod
  kafka:
    read: [stock_market_batch]
    groups: [stock-market-batch-consumer-group]
    write: [stock-market-quarantine]
  store:
    read: [lineage/, raw/historical/, raw/corporate_actions/]
    write: [raw/historical/, raw/corporate_actions/, quarantine/topic=stock_market_batch/, "lineage/run_id=*/consume-historical.json", "lineage/run_id=*/failures/consume-historical.json"]
validate-raw:
  image: consume-historical
  runs: pod
  store:
    read: [lineage/, held/, raw/historical/, raw/corporate_actions/, tables/]
    write: [tables/, "lineage/run_id=*/validate-raw.json", "lineage/run_id=*/failures/validate-raw.json"]
    delete: [{{ $versions }}]
  catalog: writer
daily-analytics:
  image: spark-apps
  runs: spark
  s3a: [tables/, processed/historical/{{ $events }}]
  store:
    read: [lineage/, tables/, processed/historical/{{ $events }}]
    write: [tables/, processed/historical/, "lineage/run_id=*/daily-analytics.json", "lineage/run_id=*/failures/daily-analytics.json"{{ $events }}]
    delete: [processed/historical/, {{ $versions }}{{ $events }}]
  catalog: writer
load-warehouse:
  image: load-warehouse
  runs: pod
  store:
    read: [lineage/, tables/, processed/historical/]
    write: ["lineage/run_id=*/load-warehouse.json", "lineage/run_id=*/failures/load-warehouse.json"]
  catalog: reader
  warehouse: true
validate-loaded:
  image: load-warehouse
  runs: pod
  store:
    read: [lineage/]
    write: ["lineage/run_id=*/validate-loaded.json", "lineage/run_id=*/failures/validate-loaded.json"]
  warehouse: true
reconcile-run:
  image: load-warehouse
  runs: pod
  store:
    read: [lineage/, raw/source/, raw/historical/, tables/, processed/historical/, quarantine/]
    write: ["lineage/run_id=*/reconcile-run.json", "lineage/run_id=*/failures/reconcile-run.json", "lineage/run_id=*/run.json"]
  catalog: reader
  warehouse: true
held-symbol:
  image: fetch-historical
  runs: pod
  store:
    read: [lineage/, held/, raw/source/]
    write: [held/]
load-live:
  image: load-warehouse
  runs: pod
  store:
    read: [tables/, processed/realtime/]
  catalog: reader
  warehouse: true
rebuild-windows:
  image: spark-apps
  runs: spark
  s3a: [{{ $live.raw }}, processed/realtime/, tables/{{ $events }}]
  store:
    read: [{{ $live.raw }}, processed/realtime/, tables/{{ $events }}]
    write: [processed/realtime/, tables/{{ $events }}]
    delete: [{{ $versions }}{{ $events }}]
  catalog: writer
  # The same slides as the stream's.
  env: {{ index .Values.stages "stream-analytics" "env" | default dict | toJson }}
tick-bars:
  image: tick-bars
  runs: pod
  store:
    read: [{{ $live.raw }}, tables/, processed/realtime/ticks/, processed/realtime/bars/, processed/realtime/gaps/]
    write: [tables/, processed/realtime/ticks/, processed/realtime/bars/, processed/realtime/gaps/]
    delete: [{{ $versions }}]
  catalog: writer
apply-retention:
  image: lake-maintenance
  runs: pod
  store:
    read: [raw/realtime/, accelerated/]
    delete: [raw/realtime/, accelerated/]
maintain-tables:
  image: lake-maintenance
  runs: pod
  store:
    read: [tables/, processed/historical/, processed/realtime/]
    write: [tables/, processed/historical/, processed/realtime/, maintenance/tables.json]
    delete: [tables/, processed/historical/, processed/realtime/]
  catalog: writer
clean-metadata:
  image: airflow-dags
  runs: pod
  metadata: true
stream-ticks:
  image: stream-ticks
  runs: deployment
  kafka:
    write: [{{ $live.topic }}]
  store:
    read: [tables/, processed/historical/]
  catalog: reader
  internet: [443]
  single: true
archive-ticks:
  image: archive-ticks
  runs: deployment
  kafka:
    read: [{{ $live.topic }}]
    groups: [{{ $live.archiveGroup }}]
    write: [stock-market-quarantine]
  store:
    read: [{{ $live.raw }}]
    write: [{{ $live.raw }}, quarantine/topic={{ $live.topic }}/]
stream-analytics:
  image: spark-apps
  runs: stream
  s3a: [processed/realtime/, {{ $live.checkpoints }}, tables/{{ $events }}]
  kafka:
    read: [{{ $live.topic }}]
    write: [{{ $live.analyticsTopic }}]
  store:
    read: [{{ $records }}, processed/realtime/, {{ $live.checkpoints }}, tables/{{ $events }}]
    write: [{{ $records }}, processed/realtime/, {{ $live.checkpoints }}, tables/{{ $events }}]
    delete: [{{ $live.checkpoints }}, {{ $versions }}{{ $events }}]
  catalog: writer
dashboard:
  image: dashboard
  runs: deployment
  kafka:
    read: [{{ $live.topic }}, {{ $live.analyticsTopic }}, {{ $live.alertsTopic }}, {{ $live.alertsStateTopic }}]
    describe: [stock_market_batch]
    watch: [stock-market-batch-consumer-group, {{ $live.archiveGroup }}, {{ $live.alertsGroup }}]
  store:
    read: [lineage/, held/, tables/, processed/, quarantine/]
  catalog: reader
  ports: {http: 8000}
  {{- with index .Values.stages "dashboard" }}
  env:
    TICKLAKE_DASHBOARD_HOST: 0.0.0.0
    {{- with .alertmanager }}
    TICKLAKE_DASHBOARD_ALERTMANAGER: {{ . | quote }}
    {{- end }}
  {{- with .signIn.existingSecret }}
  secretEnv:
    TICKLAKE_DASHBOARD_USER: {secret: {{ . }}, key: user}
    TICKLAKE_DASHBOARD_PASSWORD: {secret: {{ . }}, key: password}
  {{- end }}
  {{- end }}
market-alerts:
  image: market-alerts
  runs: deployment
  kafka:
    read: [{{ $live.topic }}, {{ $live.alertsTopic }}, {{ $live.alertsStateTopic }}]
    write: [{{ $live.alertsTopic }}, {{ $live.alertsStateTopic }}]
    groups: {{ append $live.alertsDelivery $live.alertsGroup | toJson }}
  # Webhooks, Slack, and mail by submission.
  internet: [443, 465, 587]
  single: true
  {{- with index .Values.stages "market-alerts" "rules" }}
  env: {TICKLAKE_ALERTS_RULES_FILE: /etc/ticklake/alerts/rules.yaml}
  config: {volume: rules, path: /etc/ticklake/alerts, checksum: {{ toJson . | sha256sum }}}
  {{- end }}
check-platform:
  image: provision-store
  runs: job
  kafka:
    read: [ticklake-check]
    write: [ticklake-check]
  store:
    read: [checks/]
    write: [checks/]
    delete: [checks/]
{{- if .Values.monitoring.enabled }}
batch-exporter:
  image: batch-exporter
  runs: deployment
  store:
    read: [lineage/, held/, maintenance/, tables/]
  catalog: reader
  single: true
  env:
    TICKLAKE_BATCH_SCHEDULE: {{ .Values.airflow.schedule | quote }}
    TICKLAKE_BATCH_GRACE_SECONDS: {{ .Values.monitoring.batchGraceSeconds | int }}
    TICKLAKE_BATCH_SOURCE: {{ get (index .Values.stages "fetch-historical" "env" | default dict) "TICKLAKE_SOURCE" | default "" | quote }}
{{- end }}
{{- if .Values.airflow.backup.enabled }}
airflow-backup:
  image: provision-store
  runs: job
  metadata: true
  store:
    read: [backups/]
    write: [backups/]
{{- end }}
{{- if .Values.spark.history.enabled }}
spark-history:
  image: spark-apps
  runs: history
  s3a: [spark-events/]
  store:
    read: [spark-events/]
    delete: [spark-events/]
{{- end }}
{{- end -}}

{{/* The stages that run on Spark, as JSON. */}}
{{- define "ticklake.sparkStages" -}}
{{- $found := list -}}
{{- range $name, $spec := include "ticklake.stages" . | fromYaml -}}
{{- if has $spec.runs (list "spark" "stream") -}}
{{- $found = append $found $name -}}
{{- end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}
