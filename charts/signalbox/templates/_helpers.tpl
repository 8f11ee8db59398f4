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

{{/* The kind of store: `sqlite`, `postgresql` or `none`. */}}
{{- define "signalbox.store" -}}
{{- $store := default "sqlite" .Values.config.store -}}
{{- if hasPrefix "postgresql" $store -}}
{{- fail "config.store contains the URL of a database: put it into a secret, and name that in database.existingSecret" -}}
{{- end -}}
{{- if and .Values.config.store .Values.database.existingSecret -}}
{{- fail "config.store is set by the chart: database.existingSecret" -}}
{{- end -}}
{{- if and .Values.database.type (not .Values.existingConfigMap) -}}
{{- fail "database.type is for existingConfigMap only: set database.existingSecret or config.store" -}}
{{- end -}}
{{- if .Values.database.existingSecret -}}
postgresql
{{- else if .Values.database.type -}}
{{- .Values.database.type -}}
{{- else if eq $store "none" -}}
none
{{- else -}}
sqlite
{{- end -}}
{{- end -}}

{{/* Refuses what would give each pod a database of its own. */}}
{{- define "signalbox.checkReplicas" -}}
{{- if eq (include "signalbox.store" .) "sqlite" -}}
{{- $mend := "set database.existingSecret to a secret with the URL of a PostgreSQL database" -}}
{{- if .Values.existingConfigMap -}}
{{- $mend = printf "%s, or database.type to what `store` in the config map is" $mend -}}
{{- else -}}
{{- $mend = printf "%s, or config.store to none" $mend -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- fail (printf "autoscaling.enabled needs a database that all pods share, and the store is SQLite: %s" $mend) -}}
{{- end -}}
{{- if gt (int .Values.replicaCount) 1 -}}
{{- fail (printf "replicaCount is %v, and the store is SQLite, which one pod uses alone: %s" .Values.replicaCount $mend) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.dataVolume.existingClaim (or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1)) -}}
{{- fail "dataVolume.existingClaim is for one pod: several must not share data_dir; remove it, or set replicaCount to 1 without autoscaling" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- end -}}

{{/* The variable with the URL of the database. */}}
{{- define "signalbox.databaseEnv" -}}
{{- with .Values.database -}}
{{- if .existingSecret -}}
- name: SIGNALBOX_STORE
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .key }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The other variables that come from secrets. */}}
{{- define "signalbox.secretEnv" -}}
{{- $env := list -}}
{{- with .Values.redis -}}
{{- if .existingSecret -}}
{{- $env = append $env (dict "name" "SIGNALBOX_STATE" "valueFrom" (dict "secretKeyRef" (dict "name" .existingSecret "key" .key))) -}}
{{- end -}}
{{- end -}}
{{- with .Values.auth -}}
{{- if .existingSecret -}}
{{- $secret := .existingSecret -}}
{{- range $name, $key := dict "SIGNALBOX_ADMIN_TOKEN" .adminTokenKey "SIGNALBOX_ENCRYPTION_KEY" .encryptionKeyKey "SIGNALBOX_PEPPER" .pepperKey -}}
{{- $env = append $env (dict "name" $name "valueFrom" (dict "secretKeyRef" (dict "name" $secret "key" $key "optional" true))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $env -}}
{{- toYaml $env -}}
{{- end -}}
{{- end -}}

{{/* The configuration, with what belongs to the container; a second place for the same setting is refused. */}}
{{- define "signalbox.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.database.existingSecret -}}
{{- $_ := set $config "store" "${SIGNALBOX_STORE}" -}}
{{- end -}}
{{- if .Values.redis.existingSecret -}}
{{- if $config.state -}}
{{- fail "config.state is set by the chart: redis.existingSecret" -}}
{{- end -}}
{{- $_ := set $config "state" "${SIGNALBOX_STATE}" -}}
{{- end -}}
{{- if .Values.auth.existingSecret -}}
{{- $auth := default (dict) $config.auth -}}
{{- range $setting, $variable := dict "admin_token" "SIGNALBOX_ADMIN_TOKEN" "encryption_key" "SIGNALBOX_ENCRYPTION_KEY" "pepper" "SIGNALBOX_PEPPER" -}}
{{- if hasKey $auth $setting -}}
{{- fail (printf "config.auth.%s is set by the chart: auth.existingSecret" $setting) -}}
{{- end -}}
{{- $_ := set $auth $setting (printf "${%s:-}" $variable) -}}
{{- end -}}
{{- $_ := set $config "auth" $auth -}}
{{- end -}}
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
