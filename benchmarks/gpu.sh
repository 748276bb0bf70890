#!/usr/bin/env bash
# Asks a GPU all that only a GPU can answer, in at most eight minutes: see gpu.py, or --help.
# Needs an environment with the package's dependencies and a torch for CUDA; PYTHON names another interpreter.
exec "${PYTHON:-python}" "$(dirname "$0")/gpu.py" "$@"
