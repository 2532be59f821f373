# One image for the operator and for runs.
#
# BASE needs python3 (3.11 or newer) with pip: python:3.13-slim from a registry, or the base image that
# `make image` builds from Debian packages. Wheels come with the build context, so the build needs no network:
#   pip download --only-binary=:all: --dest build/wheels --requirement requirements/image.txt
#   python -m build --wheel --outdir build/dist
ARG BASE=python:3.11-slim
FROM ${BASE}
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_BREAK_SYSTEM_PACKAGES=1 \
    PYTHONUNBUFFERED=1
# What changes seldom below, what changes often above. Bytecode is compiled here, for the root filesystem of a run is
# read-only and its user is not root.
COPY build/wheels /tmp/wheels
COPY requirements/image.txt /tmp/wheels/
RUN pip install --no-index --find-links /tmp/wheels --requirement /tmp/wheels/image.txt && rm -rf /tmp/wheels
COPY build/dist /tmp/dist
RUN pip install --no-index --no-deps /tmp/dist/*.whl && rm -rf /tmp/dist
USER 65532:65532
WORKDIR /tmp
CMD ["python3", "-m", "penstock.runner"]
