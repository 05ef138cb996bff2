#!/usr/bin/env bash
# Make .venv from requirements.lock with Python >= 3.12, or with the argument "lock" the lock from pyproject.toml; with
# "audit" look the locked versions up in a database of vulnerabilities.
# Run by make; needs only some Python 3 with pip, or uv.
set -euo pipefail

# A Python that is good enough: on the path, or one of pyenv's versions that no shim points at.
good_python() {
  local candidate
  for candidate in python3.12 python3.13 python3.14 python3 python \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python; do
    candidate=$(command -v "$candidate" 2>/dev/null) || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  echo ">=3.12" # uv fetches one
}

find_uv() {
  if command -v uv >/dev/null 2>&1; then
    command -v uv
    return
  fi
  local some
  some=$(command -v python3 || command -v python) || {
    echo "Neither uv nor Python 3 is here: install one of them." >&2
    return 1
  }
  rm -rf .uv.part && mkdir .uv.part
  "$some" -m pip install --quiet --disable-pip-version-check --target .uv.part uv >&2 || {
    echo "Could not install uv with $some -m pip: install pip or uv and try again." >&2
    return 1
  }
  rm -rf .uv && mv .uv.part .uv
  echo "$PWD/.uv/bin/uv"
}

if [ "${1:-}" = lock ]; then
  uv=$(find_uv)
  exec "$uv" pip compile --quiet --universal --python-version 3.12 --extra test --extra docs --no-emit-index-url --no-header \
    --output-file requirements.lock pyproject.toml
fi

if [ "${1:-}" = audit ]; then
  # The lock names every version, so that nothing is resolved or installed but the auditor itself. Strict: a package that
  # cannot be looked up is an error, not a package without vulnerabilities.
  uv=$(find_uv)
  if said=$("$uv" tool run pip-audit --strict --requirement requirements.lock --disable-pip --no-deps 2>&1); then
    echo "$said"
    exit 0
  fi
  echo "$said" >&2
  if grep -qiE "could not be audited|ConnectionError|failed to (fetch|resolve)|dns error|timed out|max retries" <<<"$said"; then
    echo "NOT AUDITED: the database of vulnerabilities cannot be reached from here. CI looks once a week." >&2
    [ -n "${REQUIRED:-}" ] || exit 0
  fi
  exit 1
fi

# Tool settings in pyproject.toml do not matter to the environment; the project table and its entry points do.
digest=$(cat requirements.lock <(sed -n '/^\[project/,/^\[tool/p' pyproject.toml) | cksum)
if [ -x .venv/bin/python ] && [ "$(cat .venv/.made-from 2>/dev/null)" = "$digest" ]; then
  touch .venv/.made-from
  exit 0
fi
echo "Making .venv from requirements.lock ..."

uv=$(find_uv)
python=$(good_python)
"$uv" venv --quiet --clear --python "$python" .venv
"$uv" pip install --quiet --python .venv/bin/python --requirement requirements.lock
"$uv" pip install --quiet --python .venv/bin/python --no-deps --editable .
echo "$digest" >.venv/.made-from
echo ".venv is ready: $(.venv/bin/python --version)"
