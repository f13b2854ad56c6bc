{{- /*
What the operator may do where it looks after pipelines. penstock_operator/permissions.py says the same with the reasons, and a test
compares both: a verb too many fails it as much as one too few.
*/ -}}
{{- define "penstock.rules" -}}
- apiGroups: [penstock.dev]
  resources: [batchpipelines]
  verbs: [list, watch]
- apiGroups: [penstock.dev]
  resources: [batchpipelines/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [create, delete, list, patch, watch]
- apiGroups: [""]
  resources: [configmaps, services]
  verbs: [create, delete, list, patch, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [create, delete, list, patch, watch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create, delete, list, patch, watch]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [create, list, patch, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Tokens are made and never read.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
