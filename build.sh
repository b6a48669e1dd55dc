#!/usr/bin/env bash
# Build the image `spectrogrampredictor`.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
  cat <<'TEXT'
usage: ./build.sh [OPTION OF THE ENGINE'S BUILD]...

Build the image `spectrogrampredictor` with docker, podman or buildah, whichever is there and answers.
Everything on the command line is passed on to the engine.

environment:
  BASE     image to build on (the Dockerfile's default: python:3.12-slim-bookworm);
           any image with python3 3.11 to 3.13 and venv will do
  ENGINE   docker, podman or buildah, instead of the first one that answers

examples:
  ./build.sh
  BASE=python:3.13-slim-bookworm ./build.sh
  ENGINE=podman ./build.sh --no-cache
  ./build.sh --build-arg PIP_INDEX_URL=URL       # packages from an index of your own

afterwards:
  docker run --restart always -v /certs:/certs -v spectrogrampredictor:/data \
      -p 443:443 -p 4443:4443 -e SIGNING_TOKEN=... -dit spectrogrampredictor
TEXT
}

answers() { # ENGINE: is it there, and for docker and podman: does it work?
  case $1 in
  buildah) buildah --version ;;
  *) "$1" info ;;
  esac >/dev/null 2>&1
}

if [[ ${1-} == -h || ${1-} == --help ]]; then
  usage
  exit 0
fi
if [[ -z ${ENGINE-} ]]; then
  for candidate in docker podman buildah; do
    if answers "$candidate"; then
      ENGINE=$candidate
      break
    elif command -v "$candidate" >/dev/null; then
      echo "build.sh: $candidate is there but does not answer (\`$candidate info\` says why)" >&2
    fi
  done
fi

# buildah and podman keep a health check only in Docker's image format
case ${ENGINE-} in
docker) build=(docker build) ;;
podman) build=(podman build --format docker) ;;
buildah) build=(buildah build --format docker) ;;
'')
  echo "build.sh: no docker, podman or buildah that answers: install one, or run scripts/check-image" >&2
  exit 1
  ;;
*)
  echo "build.sh: ENGINE=$ENGINE: docker, podman or buildah" >&2
  exit 2
  ;;
esac
if [[ -n ${BASE-} ]]; then
  build+=(--build-arg "BASE=$BASE")
fi
echo "build.sh: ${build[*]} --tag spectrogrampredictor"
exec "${build[@]}" --tag spectrogrampredictor "$@" .
