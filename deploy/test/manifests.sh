#!/usr/bin/env bash
# Lays out what kubectl would apply and checks it: every object against the schemas of Kubernetes, strictly, then what
# schemas do not know (rules.py). Needs no cluster. Ends with 77 and a sentence where it cannot be done.
#
#   bash deploy/test/manifests.sh [FOLDER]     what is installed stays in the folder, for the next time
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
FOLDER=$(realpath --canonicalize-missing "${1:-target/deploy}")
# The oldest and the newest Kubernetes that the manifests are meant for.
VERSIONS=(1.32 1.35)

cannot() { echo "left out, because $*"; exit 77; }

# kubectl, from the path or out of Debian 13: the one of Debian 12 is too old to know components.
find_kubectl() {
    local unpacked=$FOLDER/kubectl
    KUBECTL=$(command -v kubectl || echo "$unpacked/usr/bin/kubectl")
    [ -x "$KUBECTL" ] && return 0
    command -v mmdebstrap >/dev/null || cannot "kubectl 1.27 or newer is not installed"
    mkdir -p "$FOLDER"
    mmdebstrap --quiet --variant=extract --include=kubernetes-client trixie "$unpacked" \
        || cannot "kubectl is neither installed nor to be had from Debian"
}

find_validator() {
    PYTHON=$FOLDER/python
    [ -x "$PYTHON/bin/kubernetes-validate" ] && return 0
    python3 -m venv "$PYTHON" && "$PYTHON/bin/pip" install --quiet kubernetes-validate==1.37.0 \
        || cannot "kubernetes-validate cannot be installed from PyPI"
}

find_kubectl
find_validator
mkdir -p "$FOLDER/manifests"
for overlay in small fleet fleet/migrate; do
    laid_out=$FOLDER/manifests/${overlay//\//-}.yaml
    "$KUBECTL" kustomize "deploy/kubernetes/$overlay" >"$laid_out"
    for version in "${VERSIONS[@]}"; do
        "$PYTHON/bin/kubernetes-validate" --kubernetes-version "$version" --strict --quiet "$laid_out"
    done
    "$PYTHON/bin/python" deploy/test/rules.py "$laid_out"
done
