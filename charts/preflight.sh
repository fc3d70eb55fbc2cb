#!/bin/sh
# Compares the tools and the cluster of the current context with what the platform needs, before anything is installed.
# Prints a line for each thing that is missing and ends with exit code 1. `make deploy` and Skaffold call it.
set -u
KUBERNETES=1.30 # Strimzi 1.x
HELM=3.18       # reads the chart's schema; both 3 and 4 will do
MEMORY_GIB=9    # what the pods of values-kind.yaml, Airflow and the operators ask for while a batch runs
CPUS=2

missing=0
lack() {
    echo "preflight: $*" >&2
    missing=1
}
# older VERSION LEAST: whether v1.34.4 or 1.34 comes before LEAST.
older() {
    [ "$(printf '%s\n%s\n' "${1#v}" "$2" | sort -V | head -n 1)" != "$2" ]
}

for tool in kubectl helm; do
    command -v "$tool" > /dev/null || lack "$tool is not installed"
done
[ "$missing" = 0 ] || exit 1

helm=$(helm version --template '{{.Version}}')
if older "$helm" "$HELM"; then lack "helm is $helm; needed is $HELM or newer"; fi

if ! nodes=$(kubectl get nodes --request-timeout=20s -o jsonpath='{range .items[*]}{.status.nodeInfo.kubeletVersion} {.status.allocatable.memory} {.status.allocatable.cpu}{"\n"}{end}' 2> /dev/null); then
    lack "no cluster answers: is KUBECONFIG, or the current context, the right one?"
    exit 1
fi
version=$(echo "$nodes" | head -n 1 | cut -d ' ' -f 1)
if older "$version" "$KUBERNETES"; then lack "Kubernetes is $version; needed is $KUBERNETES or newer"; fi

# The nodes of kind and the like are containers of one machine and each count all of it.
case $(kubectl config current-context 2> /dev/null) in
    kind-* | k3d-* | minikube) shared=1 ;;
    *) shared=0 ;;
esac
found=$(echo "$nodes" | awk -v shared="$shared" '
    { memory = $2; unit = 1
      if (sub(/Ki$/, "", memory)) unit = 1024; else if (sub(/Mi$/, "", memory)) unit = 1048576; else if (sub(/Gi$/, "", memory)) unit = 1073741824
      cpu = $3; if (sub(/m$/, "", cpu)) cpu /= 1000
      if (shared) { if (memory * unit > m) m = memory * unit; if (cpu > c) c = cpu } else { m += memory * unit; c += cpu } }
    END { printf "%.1f %.1f", m / 1073741824, c }')
memory=${found% *} cpus=${found#* }
if older "$memory" "$MEMORY_GIB"; then lack "the cluster has $memory GiB of memory for pods; needed are $MEMORY_GIB (Docker's own limit, on a laptop)"; fi
if older "$cpus" "$CPUS"; then lack "the cluster has $cpus CPUs; needed are $CPUS"; fi

classes=$(kubectl get storageclass -o jsonpath='{.items[*].metadata.annotations.storageclass\.kubernetes\.io/is-default-class}')
case $classes in
    *true*) ;;
    *) lack "the cluster has no default StorageClass: volumes would wait for ever, unless the values name one" ;;
esac
exit "$missing"
