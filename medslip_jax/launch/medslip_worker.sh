#!/usr/bin/env bash
# Lies in the home directory of every host of a TPU pod and is called over ssh by `medslip launch tpu`:
#   install SPEC [FILE]   an environment with the package, SPEC being what pip takes, or a wheel in a bucket; with the
#                  versions of a constraints file
#   setup TEXT     a shell command of the user's, such as copying data
#   run WORD ...   starts `medslip WORD ...`, shows its output, and ends with its exit code
#   stop           asks the training to save and end, and waits for it
# The training does not hang on the connection: when that breaks, or the launcher is stopped, it goes on, and `run` with
# the same words follows it again.
set -euo pipefail

home=$HOME
python=$home/medslip_env/bin/python
state=$home/.medslip_launch
PATH=$home/.local/bin:$PATH

alive() {
  [[ -s $state/starter ]] && grep -qsa medslip_worker "/proc/$(cat "$state/starter")/cmdline"
}

install_package() {
  local spec=$1 versions=()
  [[ -z ${2:-} ]] || versions=(--constraint "$2")
  # The images of TPU hosts carry Python 3.10, which JAX no longer supports; uv brings its own.
  command -v uv > /dev/null || python3 -m pip install --quiet --user uv
  uv venv --quiet --allow-existing --python 3.12 "$home/medslip_env"
  if [[ $spec == gs://* ]]; then
    gcloud storage cp "$spec" "$home/"
    spec="./$(basename "$spec")[tpu]"
  fi
  # A wheel that was built anew has the same version.
  uv pip install --quiet --reinstall-package medslip-jax --python "$python" "${versions[@]}" "$spec"
}

# The parent of the training: notes its process and its exit code, and outlives the connection.
start() {
  "$python" -m medslip_jax.cli.main "$@" &
  echo $! > "$state/training"
  local code=0
  wait $! || code=$?
  echo "$code" > "$state/code"
}

run() {
  if alive; then
    if [[ $(cat "$state/command") != "$*" ]]; then
      echo "another training runs on $(hostname): $(cat "$state/command")" >&2
      return 2
    fi
    echo "following the training that runs on $(hostname) already"
  else
    [[ ! -e $state/log ]] || mv "$state/log" "$state/log.previous"
    rm -f "$state/code" "$state/training"
    echo "$*" > "$state/command"
    : > "$state/log"
    nohup bash "$0" start "$@" > "$state/log" 2>&1 < /dev/null &
    echo $! > "$state/starter"
  fi
  tail -n +1 -f --pid="$(cat "$state/starter")" "$state/log"
  # Without a code the starter itself was killed: 70, worth another run.
  return "$(cat "$state/code" 2> /dev/null || echo 70)"
}

stop() {
  while alive && [[ ! -s $state/training ]]; do sleep 1; done
  alive || return 0
  kill -TERM "$(cat "$state/training")"
  while alive; do sleep 1; done
  echo "ended with $(cat "$state/code") on $(hostname)"
}

main() {
  local verb=$1
  shift
  mkdir -p "$state"
  case $verb in
    install | setup)
      if alive; then
        echo "a training runs on $(hostname): $verb is left out"
      elif [[ $verb == install ]]; then
        install_package "$@"
      else
        bash -c "$1"
      fi
      ;;
    run) run "$@" ;;
    start) start "$@" ;;
    stop) stop ;;
    *)
      echo "unknown: $verb" >&2
      return 2
      ;;
  esac
}

# On one line: bash has then read all of this file, which may be copied anew while it runs.
main "$@"; exit
