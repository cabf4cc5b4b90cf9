# To be sourced by the scripts that look at pages: Chromium, its driver and the library that drives it. Sets `python`; where they
# cannot be had it says so and ends the script.
if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "SKIPPED: chromium and chromedriver are not installed, and only root can install them"
        echo "0 passed, 0 failed, 1 skipped"
        exit 0
    fi
    echo "installing Debian's chromium and chromium-driver"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-dejavu-core >/dev/null
fi
venv=${DTE_CONFORMANCE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dte-conformance}/chromium
python=$venv/bin/python
if ! "$python" -c 'import selenium' 2>/dev/null; then
    mkdir -p "$(dirname "$venv")"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$root/conformance/chromium/requirements.txt"
fi
# Nothing is left behind beside the scripts.
export PYTHONDONTWRITEBYTECODE=1
