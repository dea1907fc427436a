#!/bin/sh
# Brings the compose stack up on any Docker engine with two tts-workers, drives chat, speech,
# transcription and a batch, kills one tts-worker, drives them again, and takes everything down.
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

# In a file: what stands behind `"name":"` for the first time.
value_of() { sed -n "s/.*\"$2\":\"\([^\"]*\)\".*/\1/p" "$1" | head -n 1; }
is_batch() { # id, status
  call "$base/v1/batches/$1" -o "$files/batch" && grep -q "\"status\":\"$2\"" "$files/batch"
}

# A batch of speech, one line an encoder of ffmpeg's, whose files the gateway hands out.
drive_batch() {
  for format in mp3 aac wav; do
    printf '{"custom_id":"%s","method":"POST","url":"/v1/audio/speech","body":{"voice":"alloy","response_format":"%s","input":"Good morning from the batch."}}\n' \
      "$format" "$format"
  done >"$files/lines.jsonl"
  call "$base/v1/files" -F purpose=batch -F "file=@$files/lines.jsonl" -o "$files/file" || fail "file: $(cat "$files/file")"
  printf '{"input_file_id":"%s","endpoint":"/v1/audio/speech","completion_window":"24h"}' "$(value_of "$files/file" id)" >"$files/order"
  call "$base/v1/batches" -H 'Content-Type: application/json' -d "@$files/order" -o "$files/batch" || fail "batch: $(cat "$files/batch")"
  batch=$(value_of "$files/batch" id)
  wait_for 'the batch is completed' 60 is_batch "$batch" completed
  output=$(value_of "$files/batch" output_file_id)
  call "$base/v1/files/$output/content" -o "$files/output" || fail 'the output of the batch'
  [ "$(wc -l <"$files/output")" -eq 3 ] || fail "batch: $(cat "$files/batch" "$files/output")"
  sound=$(value_of "$files/output" file_id)
  call "$base/v1/files/$sound/content" -o "$files/sound" || fail 'the sound of a line'
  [ "$(wc -c <"$files/sound")" -gt 4000 ] || fail 'the sound of a line is too short'
  say "batch: $(cut -c1-160 "$files/output" | head -n 1)"
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
drive_batch

victim=$($compose ps -q tts-worker | head -n 1)
docker kill "$victim" >/dev/null
say 'killed one tts-worker'
drive
drive_batch

wait_for 'all others are healthy' 60 are_healthy gateway redis llm-worker stt-worker
