#!/bin/sh
# Brings the compose stack up on any Docker engine with two tts-workers, drives chat, speech and
# transcription, kills one tts-worker, drives them again, and takes everything down.
#   sh deploy/test-compose.sh        (PORT: where the gateway is published, 18000 unless told)
set -eu
cd "$(dirname "$0")/.."

if docker compose version >/dev/null 2>&1; then compose='docker compose'; else compose=docker-compose; fi
random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

COMPOSE_PROJECT_NAME=antiphon-test-$$
PORT=${PORT:-18000}
API_KEYS=test-$(random)
REDIS_PASSWORD=$(random)
export COMPOSE_PROJECT_NAME PORT API_KEYS REDIS_PASSWORD
# A developer's .env is not part of this test.
export AI_SERVICE=demo TTS_SERVICE=flite TTS_FALLBACK_SERVICE=espeak STT_SERVICE=pocketsphinx
base=http://127.0.0.1:$PORT
files=$(mktemp -d)

say() { printf '== %s\n' "$*"; }
finish() {
  status=$?
  trap - EXIT
  if [ "$status" -ne 0 ]; then
    say 'failed; the state and the last lines of the processes:'
    $compose ps || true
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
has_words() { # file, words
  for word in $2; do
    grep -qi "$word" "$1" || fail "'$word' is missing in: $(cat "$1")"
  done
}

drive() {
  call "$base/v1/chat/completions" -H 'Content-Type: application/json' -o "$files/chat" \
    -d '{"messages":[{"role":"user","content":"What is 6 times 7?"}]}' || fail "chat: $(cat "$files/chat")"
  has_words "$files/chat" '42 chat.completion'
  say "chat: $(cut -c1-160 "$files/chat")"
  call "$base/v1/audio/speech" -H 'Content-Type: application/json' -o "$files/speech.wav" \
    -d '{"voice":"alloy","response_format":"wav","input":"The quick brown fox jumps over the lazy dog. Please open the window."}' ||
    fail "speech: $(head -c 300 "$files/speech.wav")"
  bytes=$(wc -c <"$files/speech.wav")
  [ "$bytes" -gt 48000 ] || fail "speech: only $bytes bytes"
  say "speech: $bytes bytes of wav"
  call "$base/v1/audio/transcriptions" -F "file=@$files/speech.wav" -o "$files/text" ||
    fail "transcription: $(cat "$files/text")"
  has_words "$files/text" 'fox dog window'
  say "transcription: $(cat "$files/text")"
  # A spoken question, a spoken answer.
  call "$base/v1/audio/speech" -H 'Content-Type: application/json' -o "$files/question.wav" \
    -d '{"voice":"alloy","response_format":"wav","input":"What is six times seven?"}' || fail 'question'
  printf '{"modalities":["text","audio"],"audio":{"voice":"nova","format":"wav"},"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"format":"wav","data":"%s"}}]}]}' \
    "$(base64 -w 0 "$files/question.wav")" >"$files/question.json"
  call "$base/v1/chat/completions" -H 'Content-Type: application/json' -o "$files/answer" \
    -d "@$files/question.json" || fail "spoken chat: $(head -c 300 "$files/answer")"
  has_words "$files/answer" '42 transcript expires_at'
  bytes=$(wc -c <"$files/answer")
  [ "$bytes" -gt 48000 ] || fail "spoken chat: only $bytes bytes"
  say "spoken chat: $bytes bytes"
}

say "$($compose version --short 2>/dev/null || true) $compose, Docker $(docker version --format '{{.Server.Version}}')"
$compose build >"$files/build.log" 2>&1 || {
  tail -40 "$files/build.log"
  fail 'the images do not build'
}
say 'images are built'
$compose up -d --scale tts-worker=2 >/dev/null 2>&1 || fail 'the stack does not come up'
wait_for 'ready' 120 call "$base/health/ready"

status=$(curl -s -o "$files/refused" -w '%{http_code}' "$base/v1/models")
[ "$status" = 401 ] || fail "without a key: $status instead of 401"
say 'without a key: 401'
for id in $($compose ps -q gateway llm-worker tts-worker stt-worker); do
  user=$(docker exec "$id" id -un)
  [ "$user" = node ] || fail "a container runs as $user"
done
[ "$($compose ps -q tts-worker | wc -l)" -eq 2 ] || fail 'there are no two tts-workers'
say 'two tts-workers; nobody is root'
drive

victim=$($compose ps -q tts-worker | head -n 1)
docker kill "$victim" >/dev/null
say 'killed one tts-worker'
drive

is_healthy() {
  for id in $($compose ps -q gateway redis llm-worker stt-worker); do
    [ "$(docker inspect -f '{{.State.Health.Status}}' "$id")" = healthy ] || return 1
  done
}
wait_for 'all others are healthy' 60 is_healthy
