# One node of a cluster.
#
#   docker build -t map-reduce .
#   docker run --rm --init map-reduce --help
#
# The Python of all nodes and clients must be of the same minor version.
ARG PYTHON_IMAGE=python:3.11-slim
FROM ${PYTHON_IMAGE}

ENV PYTHONUNBUFFERED=1

WORKDIR /opt/map-reduce
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt
COPY LICENSE README.md pyproject.toml setup.py ./
COPY map_reduce ./map_reduce
RUN pip install --no-cache-dir --no-deps .

RUN useradd --create-home --uid 1000 node
USER node
WORKDIR /home/node

ENTRYPOINT ["map-reduce"]
CMD ["node"]
