# One node of a cluster.
#
#   docker build -t map-reduce .
#   docker run --rm map-reduce --help
#
# scripts/batch_run starts several of them with their certificates; compose.yaml and docs/deploy.md
# show other ways. The Python of all nodes and clients must be of the same minor version.
ARG PYTHON_IMAGE=python:3.11-slim

# What installing needs stays in this stage.
FROM ${PYTHON_IMAGE} AS build
RUN python3 -m venv /opt/map-reduce
ENV PATH=/opt/map-reduce/bin:$PATH
WORKDIR /build
COPY requirements.txt requirements-dev.txt ./
# cryptography, pinned among the tools: a container can make certificates too (compose.yaml).
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.txt \
    && pip install --no-cache-dir --disable-pip-version-check -c requirements-dev.txt cryptography
# The compiled part is optional (docs/decisions/0011-compiled-loops.md): without a compiler to be had,
# the package does the same without it.
RUN command -v gcc >/dev/null \
    || { apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev; } \
    || echo 'No C compiler: going on without the compiled part.'
COPY LICENSE README.md pyproject.toml setup.py ./
COPY map_reduce ./map_reduce
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps . \
    && pip uninstall --quiet --yes pip setuptools \
    && find /opt/map-reduce -name __pycache__ -prune -exec rm -rf {} + \
    && python3 -m compileall -q /opt/map-reduce/lib

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/map-reduce /opt/map-reduce
ENV PATH=/opt/map-reduce/bin:$PATH PYTHONUNBUFFERED=1 \
    MR_PORT=9000 MR_DATA_FOLDER=/data MR_CERTS_FOLDER=/certs

# A volume that is new takes over the owner of the folder it is mounted on.
RUN useradd --create-home --uid 1000 node \
    && mkdir /data /certs && chown node: /data /certs && chmod 700 /data /certs
USER node
WORKDIR /home/node
VOLUME /data
EXPOSE 9000

# A node that is told to stop hands over what it keeps first: give it time (docker stop -t 30).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s --retries=3 CMD ["map-reduce", "ping"]

ENTRYPOINT ["map-reduce"]
CMD ["node"]
