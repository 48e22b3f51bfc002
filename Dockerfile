# The server: `docker build -t fusecast .`; docs/serving.md has the rest.
FROM python:3.11-slim AS build
RUN python -m venv /srv/venv
ENV PATH=/srv/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY constraints.txt ./
# An index of wheels of torch without the libraries of CUDA, which are ten times as large: --build-arg TORCH_INDEX=URL
ARG TORCH_INDEX=
RUN pip install -c constraints.txt ${TORCH_INDEX:+--index-url $TORCH_INDEX} torch
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install -c constraints.txt '.[serve]'

FROM python:3.11-slim
# the kernels are compiled for the processor that the container runs on, at the first start
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --home-dir /srv/fusecast --create-home fusecast \
    && install -d -o fusecast -m 700 /srv/cache
COPY --from=build /srv/venv /srv/venv
ENV PATH=/srv/venv/bin:$PATH PYTHONUNBUFFERED=1 XDG_CACHE_HOME=/srv/cache
USER 10001
WORKDIR /srv/fusecast
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["fusecast", "serve", "model=/model", "--host", "0.0.0.0", "--port", "8000"]
