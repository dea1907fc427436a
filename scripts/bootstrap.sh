#!/bin/sh
# Installs the workspace where it changed, then runs one TypeScript file under the workspace's own Node:
#   sh scripts/bootstrap.sh <script.ts> [arguments]
# Needs any Node >= 20 with npm. Quiet unless a step fails; then the step's whole log.
set -eu
cd "$(dirname "$0")/.."

parent=$PPID
stamp=node_modules/.antiphon-install
log=node_modules/.antiphon-install.log

# On standard error: standard output is the script's, and may be a pipe.
say() { printf 'antiphon: %s\n' "$*" >&2; }
fail() {
  printf 'antiphon: %s\n' "$*" >&2
  exit 1
}

# What an install depends on, and what it left: a lockfile, a manifest or a dependency set
# (another `pnpm install --prod`) that differs means to install again.
fingerprint() {
  {
    uname -sm
    cat pnpm-lock.yaml pnpm-workspace.yaml package.json ./*/package.json ./*/*/package.json
    cat node_modules/.modules.yaml
  } 2>/dev/null | cksum
}

installed() {
  [ -x node_modules/.bin/node ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ]
}

explain_failure() {
  cat "$log" >&2
  if grep -q EBADENGINE "$log"; then
    say "(EBADENGINE above is only npm's opinion of this Node version, not the failure)"
  fi
  if grep -qE 'ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ERR_SOCKET_TIMEOUT|ERR_PNPM_META_FETCH_FAIL' "$log"; then
    fail "the package registry $(npm config get registry 2>/dev/null) does not answer: check the network and npm's proxy settings, then try again"
  fi
  fail 'the install failed: its log stands above'
}

# One install at a time; whoever waited finds it done.
install_workspace() {
  mkdir -p node_modules
  (
    if command -v flock >/dev/null; then flock 9; fi
    installed && exit 0
    say 'installing the workspace (about 10 s the first time)'
    npx --yes pnpm@12 install --frozen-lockfile >"$log" 2>&1 9>&- || exit 1
    fingerprint >"$stamp"
    rm -f "$log"
  ) 9>node_modules/.antiphon-install.lock || explain_failure
  [ -x node_modules/.bin/node ] || fail 'the install left no Node in node_modules/.bin: remove node_modules and try again'
}

# The workspace's Node needs libatomic, which a bare Debian lacks: the one thing that has to be
# there before any TypeScript of ours can look after the rest.
ensure_node_runs() {
  problem=$("$node" -v 2>&1 >/dev/null) && return
  case $problem in
    *libatomic.so.1*) ;;
    *) fail "the workspace's Node does not run: $problem" ;;
  esac
  command='apt-get update && apt-get install -y libatomic1'
  command -v apt-get >/dev/null || fail "the workspace's Node needs libatomic.so.1: install it with your package manager, then try again"
  if [ "$(id -u)" = 0 ]; then
    as_root=''
  elif sudo -n true 2>/dev/null; then
    as_root='sudo -n'
  else
    fail "the workspace's Node needs libatomic1; type: sudo sh -c '$command'"
  fi
  say 'installing libatomic1 (needed by Node)'
  DEBIAN_FRONTEND=noninteractive $as_root sh -c "$command" >"$log" 2>&1 || explain_failure
  rm -f "$log"
  "$node" -v >/dev/null 2>&1 || fail "the workspace's Node still does not run: $("$node" -v 2>&1)"
}

[ $# -ge 1 ] || fail 'usage: sh scripts/bootstrap.sh <script.ts> [arguments]'
for program in node npm npx; do
  command -v "$program" >/dev/null || fail "$program is not installed: Node 20 or later with npm is needed"
done
major=$(node -p 'process.versions.node.split(".")[0]')
[ "$major" -ge 20 ] || fail "Node $(node -v) is too old: Node 20 or later is needed"

installed || install_workspace

# The real binary: signals and pids then mean the script itself.
node=$(readlink -f node_modules/.bin/node 2>/dev/null || echo node_modules/.bin/node)
ensure_node_runs
export PATH="$PWD/node_modules/.bin:$PATH"
if [ -z "${npm_lifecycle_event:-}" ] || ! command -v setpriv >/dev/null; then
  exec "$node" "$@"
fi
# Under npm the script ends with npm, even when npm is killed outright. The parent is compared
# after the death signal is armed, so that a death in between is not missed.
# shellcheck disable=SC2016
exec setpriv --pdeathsig TERM -- sh -c 'test "$PPID" = "$0" || exit 1; exec "$@"' "$parent" "$node" "$@"
