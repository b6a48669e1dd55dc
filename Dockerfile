# The image `spectrogrampredictor`: ./build.sh builds it, docs/guides/container.md says how to run it.
# BASE may be any image whose python3 is 3.11 to 3.13 and has venv (Debian: python3 python3-venv).
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
ARG PIP_INDEX_URL
RUN python3 -m venv /opt/venv
COPY requirements/server.txt /tmp/server.txt
# Headers, libclang, tests and pip serve no running server. The bytecode stays: the image is
# read-only to its user, and without it every child process compiles TensorFlow's Python again.
RUN /opt/venv/bin/pip install --no-cache-dir --no-compile --disable-pip-version-check \
        --only-binary :all: --require-hashes -r /tmp/server.txt \
    && /opt/venv/bin/pip uninstall --yes --quiet pip libclang wheel \
    && cd /opt/venv/lib/python3*/site-packages \
    && rm -rf tensorflow/include \
    && find numpy scipy h5py -type d -name tests -prune -exec rm -rf {} + \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash .
COPY LICENSE container/healthcheck.py /app/
COPY server /app/server
# Whatever the checkout's umask was: readable to all, writable to root alone.
RUN chmod -R u=rwX,go=rX /app \
    && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /app

FROM ${BASE}
# A new volume takes its owner from here, so that the server can also start with --user 10001:10001.
RUN groupadd --gid 10001 server \
    && useradd --uid 10001 --gid 10001 --home-dir /nonexistent --no-create-home \
        --shell /usr/sbin/nologin server \
    && install -d -o 10001 -g 10001 /data /data/models /data/uploads_tmp
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
# No USER: the server binds its ports and reads a key that only root can read, then becomes RUN_AS
# for good. Models and uploads share one volume because promotion links files.
ENV PATH=/opt/venv/bin:$PATH \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RUN_AS=10001:10001 \
    MODELS_DIR=/data/models \
    UPLOADS_DIR=/data/uploads_tmp
VOLUME /data
EXPOSE 443 4443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=6s --start-period=60s --retries=3 \
    CMD ["python", "/app/healthcheck.py"]
ENTRYPOINT ["python", "-m", "server"]
CMD ["serve"]
