#!/bin/sh
# Brings the compose stack up on any Docker engine with two tts-workers, drives chat, speech and
# transcription, kills one tts-worker, drives them again, and takes everything down.
#   sh deploy/test-compose.sh        (PORT: where the gateway is published, 18000 unless told)
set -eu
cd "$(dirname "$0")/.."

test=compose
PORT=${PORT:-18000}
. ./deploy/test-stack.sh

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

bring_up --scale tts-worker=2

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

wait_for 'all others are healthy' 60 are_healthy gateway redis llm-worker stt-worker
