# One image for the runtime, the worker and beat. Build: docker build -t lab-workspace .
FROM python:3.11-slim-bookworm AS build

WORKDIR /app
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
# The CPU build of PyTorch first: the one that pip takes by default brings several gigabytes of CUDA.
# For a GPU: docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /venv/bin/pip install --index-url "$TORCH_INDEX" torch==2.13.0
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY workspace workspace
COPY inference inference
COPY billing billing
# The code itself runs from /app, beside its templates: of the installed copy only the metadata stays
RUN /venv/bin/pip install --constraint constraints.txt ".[otel]" \
    && rm -r /venv/lib/python3.11/site-packages/workspace /venv/lib/python3.11/site-packages/inference \
    /venv/lib/python3.11/site-packages/billing

FROM python:3.11-slim-bookworm

# A C compiler: the engine compiles some of its operations for the processor it runs on
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 lab && useradd --uid 10001 --gid lab --home-dir /data --no-create-home lab \
    && install --directory --owner=lab --group=lab /data
COPY --from=build /venv /venv
WORKDIR /app
COPY manage.py ./
COPY workspace workspace
COPY inference inference
COPY billing billing
COPY templates templates
COPY examples examples

ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    LAB_HOME=/data LAB_HOST=0.0.0.0 LAB_LOG_FORMAT=json HF_HOME=/data/hub
USER 10001:10001
VOLUME /data
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/v1/health', timeout=4)"]
CMD ["python", "manage.py", "serve"]
