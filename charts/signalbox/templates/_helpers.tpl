{{- define "signalbox.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "signalbox.fullname" -}}
{{- $name := include "signalbox.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "signalbox.selectorLabels" -}}
app.kubernetes.io/name: {{ include "signalbox.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "signalbox.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "signalbox.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "signalbox.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "signalbox.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "signalbox.image" -}}
{{- $repository := .Values.image.repository -}}
{{- with .Values.image.registry }}{{ $repository = printf "%s/%s" (trimSuffix "/" .) $repository }}{{ end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "signalbox.configMapName" -}}
{{- default (include "signalbox.fullname" .) .Values.existingConfigMap -}}
{{- end -}}

{{/* The configuration, with what belongs to the container; a second place for the same setting is refused. */}}
{{- define "signalbox.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if not (or $config.providers $config.models) -}}
{{- $config = merge $config (.Files.Get "default-config.yaml" | fromYaml) -}}
{{- end -}}
{{- $server := default (dict) $config.server -}}
{{- range $setting, $value := dict "port" "containerPort" "drain" "drain.timeoutSeconds" -}}
{{- if hasKey $server $setting -}}
{{- fail (printf "config.server.%s is set by the chart: %s" $setting $value) -}}
{{- end -}}
{{- end -}}
{{- $container := dict "port" .Values.containerPort "drain" (printf "%vs" .Values.drain.timeoutSeconds) -}}
{{- $_ := set $config "server" (merge $container $server (dict "host" "::")) -}}
{{- if not (hasKey $config "data_dir") -}}
{{- $_ := set $config "data_dir" "/var/lib/signalbox" -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
