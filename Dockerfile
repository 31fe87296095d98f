# docker build -t troika .            docker run -p 5000:5000 -v troika-data:/data troika
#
# TORCH_INDEX: the address of a package index with CPU builds of torch (see pytorch.org, "Get started"); without it
#   the ordinary index is used, whose build brings CUDA along.
# BAKE_MODEL:  a model of the Hugging Face hub to put into the image, such as gpt2; without it the image holds the
#   bundled starter, and `TROIKA_MODEL=gpt2` downloads to the volume at the first start.

FROM python:3.11-slim AS build

ARG TORCH_INDEX=""
ARG BAKE_MODEL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

WORKDIR /srv/troika
COPY requirements.txt .
RUN if [ -n "$TORCH_INDEX" ]; then \
      pip install --index-url "$TORCH_INDEX" "$(grep '^torch==' requirements.txt)"; \
    fi \
 && pip install -r requirements.txt

COPY wsgi.py .
COPY config config
COPY app app
# Both land in the volume's folder, from which a new volume is filled.
ENV HF_HOME=/data/huggingface NUMBA_CACHE_DIR=/data/numba
RUN mkdir -p "$HF_HOME" "$NUMBA_CACHE_DIR" \
 && python -m app.engine.compile \
 && if [ -n "$BAKE_MODEL" ]; then \
      python -c 'import sys; from app.engine.model_source import resolve; print(resolve(sys.argv[1]).folder)' "$BAKE_MODEL"; \
    fi


FROM python:3.11-slim

RUN useradd --system --create-home --uid 10001 troika
WORKDIR /srv/troika
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/troika /srv/troika
COPY --from=build --chown=troika:troika /data /data

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/data/huggingface \
    NUMBA_CACHE_DIR=/data/numba \
    TROIKA_HOST=0.0.0.0 \
    TROIKA_PORT=5000 \
    TROIKA_DATABASE_URL=sqlite:////data/troika.db

USER troika
VOLUME /data
EXPOSE 5000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['TROIKA_PORT'] + '/health/ready', timeout=4)"]

CMD ["gunicorn", "-c", "config/gunicorn.py", "wsgi:app"]
