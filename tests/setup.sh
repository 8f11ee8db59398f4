#!/usr/bin/env bash
# What some tests need beyond Python: Node.js with the `openai` package and coding agents, `helm`, nginx, Redis, PostgreSQL.
# It is installed once, mostly to .cache/, and may be missing: the tests that need it then skip, and say so. Never fails, never
# asks, never waits for ever.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

cache=$PWD/.cache
helm_versions="v3.22.0 v3.19.5" # the newest, and one for an older Go

agents="@openai/codex@0.171.0 @anthropic-ai/claude-code@2.1.197 @google/gemini-cli@0.61.0"
agents_edition=1 # of the list above

absent() { ! command -v "$1" >/dev/null 2>&1; }

# Packages of the distribution, where it is Debian's and we may.
install_packages() {
    local sudo=""
    absent apt-get && return 1
    [ "$(id -u)" = 0 ] || { sudo -n true 2>/dev/null && sudo="sudo -n"; } || return 1
    local apt="$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300"
    { $apt update; timeout 600 $apt install -y --no-install-recommends "$@"; } >/dev/null 2>&1
}

install_node() {
    echo "Installing Node.js for the tests with the openai npm package ..."
    install_packages nodejs npm
}

install_nginx() {
    absent nginx && [ ! -x /usr/sbin/nginx ] || return 0
    echo "Installing nginx for the tests of the upstream transport ..."
    install_packages nginx-light
}

install_redis() {
    absent redis-server || return 0
    echo "Installing redis-server for the tests of the shared state ..."
    install_packages redis-server
}

# The newest generation of the package that the Node.js at hand can run.
openai_version() {
    if node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 22 ? 0 : 1)'; then echo 7; else echo 6; fi
}

install_openai() {
    if absent node || absent npm; then install_node; fi
    if absent node || absent npm; then return 1; fi
    local openai_version
    openai_version=$(openai_version)
    [ -f "$cache/node/.openai-$openai_version" ] && return 0
    echo "Installing openai@$openai_version from npm ..."
    mkdir -p "$cache/node"
    timeout 300 npm install --prefix "$cache/node" --no-package-lock --no-audit --no-fund --ignore-scripts \
        --loglevel=error "openai@$openai_version" >/dev/null 2>&1 && touch "$cache/node/.openai-$openai_version"
}

# Codex CLI, Claude Code and Gemini CLI: 800 MB, so only where the registry is fast.
install_agents() {
    if absent node || absent npm; then return 1; fi
    [ -f "$cache/agents/.installed-$agents_edition" ] && return 0
    echo "Installing three coding agents from npm ..."
    mkdir -p "$cache/agents"
    # shellcheck disable=SC2086
    timeout 300 npm install --prefix "$cache/agents" --no-package-lock --no-audit --no-fund --loglevel=error \
        $agents >/dev/null 2>&1 && touch "$cache/agents/.installed-$agents_edition"
}

install_helm() {
    absent helm || return 0
    [ -x "$cache/bin/helm" ] && return 0
    absent go && return 1
    echo "Building helm for the tests of the chart (some minutes, once) ..."
    mkdir -p "$cache/bin"
    for version in $helm_versions; do
        GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-trimpath GOBIN=$cache/bin \
            timeout 900 go install "helm.sh/helm/v3/cmd/helm@$version" >/dev/null 2>&1 && return 0
    done
    return 1
}

install_postgresql() {
    compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null && return 0
    absent initdb || return 0
    echo "Installing PostgreSQL for the tests of the store ..."
    # the tests start a server of their own, so the package need not start one
    local settings=/etc/postgresql-common
    if [ "$(id -u)" = 0 ] && [ ! -e "$settings/createcluster.conf" ]; then
        mkdir -p "$settings" && echo "create_main_cluster = false" >"$settings/createcluster.conf"
    fi
    install_packages postgresql
}

install_openai || echo "Without the openai npm package: its tests are skipped." >&2
install_agents || echo "Without the coding agents: their tests are skipped." >&2
install_nginx || echo "Without nginx: the tests of the upstream transport with it are skipped." >&2
install_redis || echo "Without redis-server: the tests of the shared state are skipped." >&2
install_postgresql || echo "Without PostgreSQL: the tests of the store with it are skipped." >&2
install_helm || echo "Without helm: the tests of the rendered chart are skipped." >&2
exit 0
