{{- /* Names, labels, images: what several templates say. */ -}}

{{- define "penstock.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "penstock.operator" -}}
{{- include "penstock.fullname" . }}-operator
{{- end -}}

{{- define "penstock.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "penstock.operator" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "penstock.tokenKey" -}}
{{- default (printf "%s-key" (include "penstock.operator" .)) .Values.tokenKey.existingSecret -}}
{{- end -}}

{{- define "penstock.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{- /* All labels, ours before others': (dict "root" $ "component" … "labels" (dict …)). */ -}}
{{- define "penstock.labels" -}}
{{- $ours := dict
    "app.kubernetes.io/version" .root.Chart.AppVersion
    "app.kubernetes.io/managed-by" .root.Release.Service
    "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- $all := merge $ours (fromYaml (include "penstock.selector" .root)) (default (dict) .labels) .root.Values.commonLabels -}}
{{- with .component }}{{ $_ := set $all "app.kubernetes.io/component" . }}{{ end -}}
{{- toYaml $all -}}
{{- end -}}

{{- /* Labels and annotations of an object: as above, and "annotations" (dict …). */ -}}
{{- define "penstock.metadata" -}}
labels:
  {{- include "penstock.labels" . | nindent 2 }}
{{- with merge (dict) (default (dict) .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* (dict "repository" … "tag" … "digest" …): the digest says which one, whatever the tag. */ -}}
{{- define "penstock.reference" -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository .tag -}}
{{- end -}}
{{- end -}}

{{- define "penstock.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- include "penstock.reference" (dict "repository" .Values.image.repository "tag" $tag "digest" .Values.image.digest) -}}
{{- end -}}

{{- /* A tag or digest of its own, or another repository, is never mixed with the operator's digest. */ -}}
{{- define "penstock.dataPlaneImage" -}}
{{- $own := .Values.dataPlaneImage -}}
{{- if or $own.repository $own.tag $own.digest -}}
{{- $tag := coalesce $own.tag .Values.image.tag .Chart.AppVersion -}}
{{- include "penstock.reference" (dict "repository" (default .Values.image.repository $own.repository) "tag" $tag "digest" $own.digest) -}}
{{- else -}}
{{- include "penstock.image" . -}}
{{- end -}}
{{- end -}}

{{- /* No user is named: the image's is no root, and some clusters give every namespace one of its own. */ -}}
{{- define "penstock.podSecurity" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "penstock.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
