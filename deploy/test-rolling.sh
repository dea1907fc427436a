#!/bin/sh
# A rolling restart under load: brings the compose stack up on any Docker engine with two workers of
# each stage, restarts every container one by one while clients ask, and takes everything down.
# Lost is a request that was taken and not answered: a client may be told 503, or not be let in while
# the one gateway is away, and asks again, as the SDKs do.
#   sh deploy/test-rolling.sh        (PORT: where the gateway is published, 18001 unless told)
set -eu
cd "$(dirname "$0")/.."

test=rolling
PORT=${PORT:-18001}
. ./deploy/test-stack.sh

clients=''
before_down() {
  touch "$files/stop"
  for client in $clients; do kill "$client" 2>/dev/null || true; done
}
tell_more() { tail -n 5 "$files"/*.log || true; }

# One client: asks, and asks again while it is not let in, until it is told to stop. Writes a word for
# each try: done, again (503, or nobody there), or lost with what it got.
client() { # name, what the whole answer ends with, arguments of curl
  name=$1
  mark=$2
  shift 2
  while [ ! -e "$files/stop" ]; do
    code=0
    status=$(curl -s --max-time 60 -o "$files/$name.body" -w '%{http_code}' \
      -H "Authorization: Bearer $API_KEYS" "$@") || code=$?
    if [ "$status" = 200 ] && [ "$code" -eq 0 ] && tail -c 200 "$files/$name.body" | grep -aq "$mark"; then
      echo done
    elif [ "$status" = 503 ] || [ "$status" = 000 ]; then
      # 7: refused; 52, 56: Docker's proxy took the connection for a container that is away.
      case $status/$code in
        503/0 | 000/7 | 000/52 | 000/56) echo again ;;
        *) echo "lost $status/$code" ;;
      esac
      sleep 0.5
    else
      echo "lost $status/$code $(tail -c 200 "$files/$name.body" | tr -d '\0\n')"
    fi >>"$files/$name.log"
    : >"$files/$name.body"
  done
}
count() { cat "$files"/*.log | grep -ac "^$1" || true; }

bring_up --scale llm-worker=2 --scale tts-worker=2 --scale stt-worker=2
wait_for 'two workers of each stage are healthy' 120 are_healthy

call "$base/v1/audio/speech" -H 'Content-Type: application/json' -o "$files/question.wav" \
  -d '{"voice":"alloy","response_format":"wav","input":"Please open the window."}' || fail 'speech'
json='Content-Type: application/json'
client stream '^data: \[DONE\]' "$base/v1/chat/completions" -H "$json" -d \
  '{"stream":true,"messages":[{"role":"user","content":"say: one two three four five six seven eight nine ten"}]}' &
clients="$clients $!"
client whole 'usage' "$base/v1/chat/completions" -H "$json" -d \
  '{"messages":[{"role":"user","content":"What is 6 times 7?"}]}' &
clients="$clients $!"
client speech 'speech.audio.done' "$base/v1/audio/speech" -H "$json" -d \
  '{"voice":"alloy","stream_format":"sse","response_format":"mp3","input":"The quick brown fox jumps over the lazy dog. Please open the window. It is warm today."}' &
clients="$clients $!"
client transcript 'window' "$base/v1/audio/transcriptions" -F "file=@$files/question.wav" &
clients="$clients $!"
has_answers() { for name in stream whole speech transcript; do grep -q done "$files/$name.log" || return 1; done; }
wait_for 'all clients have answers' 60 has_answers

roll() { # service
  for id in $($compose ps -q "$1"); do
    before=$(count done)
    docker stop --time 30 "$id" >/dev/null
    code=$(docker inspect -f '{{.State.ExitCode}}' "$id")
    [ "$code" = 0 ] || fail "a $1 ended with code $code"
    docker start "$id" >/dev/null
    wait_for "a $1 is healthy again" 90 are_healthy
    answered_more() { [ "$(count done)" -gt $((before + 8)) ]; }
    wait_for 'clients go on' 60 answered_more
    [ "$(count lost)" -eq 0 ] || fail "lost: $(cat "$files"/*.log | grep -a '^lost' | head -n 3)"
    say "restarted a $1: code 0, $(($(count done) - before)) answers meanwhile, $(count again) tries again in all"
  done
}
for service in llm-worker tts-worker stt-worker; do roll "$service"; done
again=$(count again)
[ "$again" -eq 0 ] || say "workers: $again requests had to be asked again"
roll gateway

touch "$files/stop"
for client in $clients; do wait "$client" || true; done
clients=''
[ "$(count lost)" -eq 0 ] || fail "lost: $(cat "$files"/*.log | grep -a '^lost' | head -n 3)"
say "$(count done) answers, $(count again) asked again, none lost"
