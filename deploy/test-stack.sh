# Sourced by the tests of this folder, from the root of the repository: a compose stack of the test's
# own, and what asks it and takes it down at the end. Wants `test` (a name) and `PORT` to be set;
# `before_down` and `tell_more` may be defined anew.

if docker compose version >/dev/null 2>&1; then compose='docker compose'; else compose=docker-compose; fi
random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

COMPOSE_PROJECT_NAME=antiphon-$test-$$
API_KEYS=test-$(random)
REDIS_PASSWORD=$(random)
export COMPOSE_PROJECT_NAME PORT API_KEYS REDIS_PASSWORD
# A developer's .env is not part of this test.
export AI_SERVICE=demo TTS_SERVICE=flite TTS_FALLBACK_SERVICE=espeak STT_SERVICE=pocketsphinx
base=http://127.0.0.1:$PORT
files=$(mktemp -d)

say() { printf '== %s\n' "$*"; }
before_down() { :; } # at any end
tell_more() { :; }   # at a failure
finish() {
  status=$?
  trap - EXIT
  before_down
  if [ "$status" -ne 0 ]; then
    say 'failed; the state and the last lines of the processes:'
    $compose ps || true
    tell_more
    $compose logs --tail=15 || true
  fi
  say 'taking the stack down'
  $compose down --volumes --timeout 30 >/dev/null 2>&1 || status=1
  rm -rf "$files"
  if [ "$status" -eq 0 ]; then say 'passed'; else say 'FAILED'; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' HUP INT TERM

fail() {
  say "$*"
  exit 1
}
call() { curl -sS --fail-with-body --max-time 60 -H "Authorization: Bearer $API_KEYS" "$@"; }
wait_for() { # what, seconds, command
  what=$1
  left=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || fail "not in time: $what"
    sleep 1
  done
  say "$what"
}
are_healthy() { # services; all of them unless told
  for id in $($compose ps -q "$@"); do
    [ "$(docker inspect -f '{{.State.Health.Status}}' "$id")" = healthy ] || return 1
  done
}

# Builds the images, starts the stack and waits until it takes requests.
bring_up() { # what `compose up` is told
  say "$($compose version --short 2>/dev/null || true) $compose, Docker $(docker version --format '{{.Server.Version}}')"
  $compose build >"$files/build.out" 2>&1 || {
    tail -40 "$files/build.out"
    fail 'the images do not build'
  }
  say 'images are built'
  $compose up -d "$@" >/dev/null 2>&1 || fail 'the stack does not come up'
  wait_for 'ready' 120 call "$base/health/ready"
}
