{{- define "penstock.labels" -}}
app.kubernetes.io/name: penstock
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: penstock
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "penstock.selector" -}}
app.kubernetes.io/name: penstock
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "penstock.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What the operator may do with the objects of a namespace: verbs and kinds one by one. */}}
{{- define "penstock.operatorRules" -}}
- apiGroups: [penstock.dev]
  resources: [flows, flowdeployments, flowruns, workpools, workqueues, concurrencylimits, automations, backfills, blocks]
  verbs: [get, list, watch]
- apiGroups: [penstock.dev]
  resources:
    - flows/status
    - flowdeployments/status
    - backfills/status
    - flowruns/status
    - workpools/status
    - workqueues/status
    - blocks/status
    - concurrencylimits/status
  verbs: [patch]
- apiGroups: [penstock.dev] # schedules and backfills make them, backfills cancel them, retention deletes them
  resources: [flowruns]
  verbs: [create, patch, delete]
- apiGroups: [penstock.dev] # for the archive
  resources: [taskrunpages]
  verbs: [list]
- apiGroups: [penstock.dev] # the word by which the admission policies know who may write the status of any run
  resources: [flowruns/status]
  verbs: [operate]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
{{- if .Values.archive.logs }}
- apiGroups: [""] # for the archive of logs
  resources: [pods/log]
  verbs: [get]
{{- end }}
- apiGroups: [coordination.k8s.io] # of warm workers; a policy keeps what is written to these
  resources: [leases]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [configmaps] # of code; a policy keeps the deletions to these
  verbs: [get, list, create, delete]
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, create, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  # For the archive, and for what is said in Events only, such as what keeps a pod from its volumes.
  verbs: [create, list, watch]
{{- end }}

{{/* Whom the policies hold to their own: tokens that are bound to a pod, unless RBAC says that they are an operator's.
The API server evaluates all match conditions of a policy, also after one that is false: one expression is left at the
first part that is, and the authorizer not asked for those who have no pod. */}}
{{- define "penstock.ofPods" -}}
- name: bound-to-a-pod-and-no-operator
  expression: >-
    has(request.userInfo.extra) && 'authentication.kubernetes.io/pod-name' in request.userInfo.extra
    && !authorizer.group('penstock.dev').resource('flowruns').subresource('status').namespace(request.namespace)
    .check('operate').allowed()
{{- end }}

{{/* The same of what everybody writes: only of accounts that may write the status of runs. */}}
{{- define "penstock.ofRuns" -}}
- name: of-a-pod-of-runs
  expression: >-
    has(request.userInfo.extra) && 'authentication.kubernetes.io/pod-name' in request.userInfo.extra
    && authorizer.group('penstock.dev').resource('flowruns').subresource('status').namespace(request.namespace)
    .check('patch').allowed()
    && !authorizer.group('penstock.dev').resource('flowruns').subresource('status').namespace(request.namespace)
    .check('operate').allowed()
{{- end }}

{{/* Variables of a policy that holds workers to their own. */}}
{{- define "penstock.isWorker" -}}
- name: podUid
  expression: request.userInfo.extra['authentication.kubernetes.io/pod-uid'][0]
- name: isWorker
  expression: request.userInfo.username == 'system:serviceaccount:' + request.namespace + ':penstock-worker'
{{- end }}

{{/* Whether a worker has made the object: a policy cannot look the run up that it is for. */}}
{{- define "penstock.bears" -}}
(has({{ . }}.metadata.annotations) && 'penstock.dev/worker-uid' in {{ . }}.metadata.annotations
        && {{ . }}.metadata.annotations['penstock.dev/worker-uid'] == variables.podUid)
{{- end }}

{{/* What a run's pod may do, and the agent of a worker for its runs. The namespace is the read boundary; which run it
may write is the admission policies' part. */}}
{{- define "penstock.runRules" -}}
- apiGroups: [penstock.dev]
  resources: [flowruns]
  verbs: [get, list, watch, create]
- apiGroups: [penstock.dev]
  resources: [flowdeployments]
  verbs: [get]
- apiGroups: [penstock.dev] # of which code takes slots
  resources: [concurrencylimits]
  verbs: [list]
- apiGroups: [penstock.dev]
  resources: [flowruns/status]
  verbs: [patch]
- apiGroups: [penstock.dev]
  resources: [taskrunpages]
  verbs: [get, create, update, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
- apiGroups: [coordination.k8s.io] # penstock.locking.kubernetes, and what a worker renews
  resources: [leases]
  verbs: [get, create, update, patch, delete]
- apiGroups: [penstock.dev]
  resources: [artifacts]
  verbs: [get, list, create, patch]
# Whoever may set a variable to anything may as well unset it. Blocks and Secrets are mounted: no right is needed.
- apiGroups: [penstock.dev]
  resources: [variables]
  verbs: [get, list, create, patch, delete]
{{- end }}

{{/* Beside that: the source of runs, which their pods have mounted, and what the pool says of workers. */}}
{{- define "penstock.workerRules" -}}
{{ include "penstock.runRules" . }}
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
- apiGroups: [penstock.dev]
  resources: [workpools]
  verbs: [get]
{{- end }}
