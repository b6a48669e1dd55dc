#!/usr/bin/env bash
# Host a model and ask it, with curl and openssl alone: every request is signed by HMAC (RFC 9421).
#   examples/curl.sh MODEL SONG
# BASE_URL, CA_FILE, KEY_ID and KEY_SECRET (base64, of `python -m server keys make`) name the rest.
set -euo pipefail
model=$1 song=$2
key=$(printf %s "$KEY_SECRET" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n')
host=${BASE_URL#https://}

# ask METHOD PATH [FILE [CONTENT-TYPE]]
ask() {
  local method=$1 path=${2%%\?*} query=
  [[ $2 == *\?* ]] && query=${2#*\?}
  local names='"@method" "@authority" "@path" "@query"'
  local base="\"@method\": $method"$'\n'"\"@authority\": ${host%:443}"$'\n'"\"@path\": $path"$'\n'"\"@query\": ?$query"
  local arguments=(--silent --show-error --cacert "$CA_FILE" --request "$method")
  [[ $method == HEAD ]] && arguments=(--silent --cacert "$CA_FILE" --head)
  if [[ $# -gt 2 ]]; then
    local kind=${4:-application/octet-stream} size digest
    size=$(wc -c <"$3" | tr -d ' ')
    digest="sha-256=:$(openssl dgst -sha256 -binary "$3" | openssl base64 -A):"
    names+=' "content-digest" "content-length" "content-type"'
    base+=$'\n'"\"content-digest\": $digest"$'\n'"\"content-length\": $size"$'\n'"\"content-type\": $kind"
    # --upload-file streams; --data-binary would hold the file in memory
    arguments+=(--upload-file "$3" --header "Content-Type: $kind" --header "Content-Digest: $digest")
  fi
  local now params
  now=$(date +%s)
  params="($names);created=$now;expires=$((now + 60));nonce=\"$(openssl rand -hex 16)\""
  params+=";keyid=\"$KEY_ID\";alg=\"hmac-sha256\";tag=\"spectrogrampredictor\""
  base+=$'\n'"\"@signature-params\": $params"
  local signature
  signature=$(printf %s "$base" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)
  curl "${arguments[@]}" --header "Signature-Input: sig=$params" --header "Signature: sig=:$signature:" \
    "$BASE_URL$2"
}

digest=$(openssl dgst -sha256 -r "$model" | cut -d' ' -f1)
body=$(mktemp)
trap 'rm -f "$body"' EXIT
printf '{"digest":"%s"}' "$digest" >"$body"
ask POST /v1/models "$body" application/json >/dev/null
ask PUT "/v1/models/$digest/file" "$model" >/dev/null
for _ in $(seq 300); do
  state=$(ask GET "/v1/models/$digest" | sed -n 's/.*"state":"\([a-z]*\)".*/\1/p')
  [[ $state == promoted ]] || break
  sleep 0.2
done
echo "$digest $state"
ask POST "/v1/models/$digest/predictions?top=3" "$song"
echo
