#!/bin/sh
# Install the dependencies into $VIRTUAL_ENV, without a cache in the image.
set -eu
export PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1
sh ops/install.sh "$VIRTUAL_ENV" requirements/base.txt
