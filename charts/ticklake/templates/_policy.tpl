{{/*
The S3 policy of one stage, as JSON. Arguments: bucket, stage (an entry of "ticklake.stages").

A prefix ends in "/" and covers all below it; anything else is one key, or a pattern of keys. S3A asks for the
status of each parent folder before it makes one, hence the rights to look at those (and nothing in them).
*/}}
{{- define "ticklake.store.policy" -}}
{{- $arn := printf "arn:aws:s3:::%s" .bucket -}}
{{- $store := .stage.store -}}
{{- $list := list -}}
{{- $get := list -}}
{{- $put := list -}}
{{- $remove := list -}}
{{- range $store.read }}
{{- $get = append $get (printf "%s/%s*" $arn .) -}}
{{- $list = append $list (printf "%s*" .) -}}
{{- end -}}
{{- range $store.write }}
{{- $put = append $put (ternary (printf "%s/%s*" $arn .) (printf "%s/%s" $arn .) (hasSuffix "/" .)) -}}
{{- end -}}
{{- range $store.delete }}
{{- $remove = append $remove (ternary (printf "%s/%s*" $arn .) (printf "%s/%s" $arn .) (hasSuffix "/" .)) -}}
{{- end -}}
{{- range .stage.s3a }}
{{- $parent := "" -}}
{{- range splitList "/" (trimSuffix "/" .) }}
{{- $parent = ternary . (printf "%s/%s" $parent .) (eq $parent "") -}}
{{- $get = append $get (printf "%s/%s" $arn $parent) -}}
{{- $list = concat $list (list $parent (printf "%s/" $parent)) -}}
{{- end -}}
{{- end -}}
{{- $statements := list -}}
{{- with $list | uniq | sortAlpha }}
{{- $statements = append $statements (dict "Effect" "Allow" "Action" (list "s3:ListBucket") "Resource" (list $arn)
      "Condition" (dict "StringLike" (dict "s3:prefix" .))) -}}
{{- end -}}
{{- if .stage.s3a }}
{{- $statements = append $statements (dict "Effect" "Allow" "Action" (list "s3:ListBucketMultipartUploads") "Resource" (list $arn)) -}}
{{- end -}}
{{- with $get | uniq | sortAlpha }}
{{- $statements = append $statements (dict "Effect" "Allow" "Action" (list "s3:GetObject") "Resource" .) -}}
{{- end -}}
{{- with $put | uniq | sortAlpha }}
{{- $actions := list "s3:PutObject" -}}
{{- if $.stage.s3a }}
{{- $actions = list "s3:AbortMultipartUpload" "s3:ListMultipartUploadParts" "s3:PutObject" -}}
{{- end -}}
{{- $statements = append $statements (dict "Effect" "Allow" "Action" $actions "Resource" .) -}}
{{- end -}}
{{- with $remove | uniq | sortAlpha }}
{{- $statements = append $statements (dict "Effect" "Allow" "Action" (list "s3:DeleteObject") "Resource" .) -}}
{{- end -}}
{{- dict "Version" "2012-10-17" "Statement" $statements | toPrettyJson -}}
{{- end -}}

{{/* What the bucket must have besides: days by prefix, and folders that must be there though nothing is in them. */}}
{{- define "ticklake.store.bucket" -}}
{{- $days := dict -}}
{{- range $prefix, $number := .Values.store.expireDays }}
{{- if $number }}
{{- $_ := set $days $prefix (int $number) -}}
{{- end -}}
{{- end -}}
{{- $folders := ternary (list "spark-events/") list .Values.spark.history.enabled -}}
{{- dict "expire_days" $days "folders" $folders | toPrettyJson -}}
{{- end -}}
