# docker build -t troika .
# docker run -p 5000:5000 -v troika-data:/data --read-only --tmpfs /tmp troika
#
# TORCH_INDEX: the address of a package index with CPU builds of torch (see pytorch.org, "Get started"); without it
#   the ordinary index is used, whose build brings CUDA along.
# RAY:         1 adds what TROIKA_ENGINE=ray needs (requirements-ray.txt).
# BAKE_MODEL:  a model of the Hugging Face hub to put into the image, such as gpt2, which it then serves; without it
#   `TROIKA_MODEL=auto` downloads gpt2 to the volume at the first start, or serves the bundled starter.

FROM python:3.11-slim-bookworm AS build

ARG TORCH_INDEX=""
ARG RAY=""
ARG BAKE_MODEL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

WORKDIR /srv/troika
COPY requirements.txt .
COPY requirements-ray.txt .
# The C++ tests and headers of torch are of no use here, and 150 MB.
RUN if [ -n "$TORCH_INDEX" ]; then \
      pip install --no-deps --index-url "$TORCH_INDEX" "$(grep '^torch==' requirements.txt)"; \
    fi \
 && pip install -r "requirements${RAY:+-ray}.txt" \
 && rm -rf /opt/venv/lib/python3.*/site-packages/torch/test /opt/venv/lib/python3.*/site-packages/torch/include

COPY wsgi.py .
COPY config config
COPY app app
# The kernels land in the volume's folder, from which Docker fills a new volume; where another is mounted there, the first
# start compiles them. The model stays outside, where no volume hides it.
ENV NUMBA_CACHE_DIR=/data/numba
RUN mkdir -p "$NUMBA_CACHE_DIR" /opt/models \
 && python -m app.engine.compile \
 && if [ -n "$BAKE_MODEL" ]; then \
      mkdir -p "/opt/models/$BAKE_MODEL" \
      && folder=$(HF_HOME=/tmp/hub python -c 'import sys; from app.engine.model_source import resolve; print(resolve(sys.argv[1]).folder)' "$BAKE_MODEL") \
      && cp -rL "$folder/." "/opt/models/$BAKE_MODEL" \
      && rm -rf /tmp/hub; \
    fi


FROM python:3.11-slim-bookworm

ARG BAKE_MODEL=""
LABEL org.opencontainers.image.title="Troika" \
      org.opencontainers.image.description="GPT-2 chat over HTTP, on a CPU or a CUDA GPU" \
      org.opencontainers.image.base.name="python:3.11-slim-bookworm"

RUN groupadd --system --gid 10001 troika \
 && useradd --system --uid 10001 --gid 10001 --home-dir /data --no-create-home troika
WORKDIR /srv/troika
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/models /opt/models
COPY --from=build /srv/troika /srv/troika
COPY --from=build --chown=10001:10001 /data /data

# Nothing is written but below /data and /tmp: the root file system may be read-only.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/data \
    HF_HOME=/data/huggingface \
    NUMBA_CACHE_DIR=/data/numba \
    MPLCONFIGDIR=/data/matplotlib \
    TROIKA_HOST=0.0.0.0 \
    TROIKA_MODEL=${BAKE_MODEL:+/opt/models/}${BAKE_MODEL:-auto} \
    TROIKA_DATABASE_URL=sqlite:////data/troika.db \
    TROIKA_TRAINING_FOLDER=/data/training

USER 10001:10001
VOLUME /data
EXPOSE 5000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request; port = os.environ.get('TROIKA_PORT') or os.environ.get('PORT') or '5000'; urllib.request.urlopen(f'http://127.0.0.1:{port}/health/ready', timeout=4)"]

# The exec form: gunicorn is process 1 and gets SIGTERM itself.
CMD ["gunicorn", "-c", "config/gunicorn.py", "wsgi:app"]
