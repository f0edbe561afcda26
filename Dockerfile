# The local server as a plain user. Build and run:
#   docker build -t tabbyapi .
#   docker run --rm -p 5000:5000 -v tabbyapi:/data tabbyapi
# The default model and the keys are kept in the volume /data; the keys are shown with
#   docker run --rm -v tabbyapi:/data --entrypoint cat tabbyapi /data/share/py-tabbyapi/keys.json
FROM python:3.13-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*

COPY pyproject.toml README.md LICENSE /src/
COPY src /src/src
RUN python -m pip install --no-cache-dir "/src[local,hub]" && rm -rf /src

ENV HOME=/data XDG_CACHE_HOME=/data/cache XDG_DATA_HOME=/data/share PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --no-create-home --home-dir /data tabbyapi \
    && install -d -o tabbyapi -g tabbyapi /data
USER tabbyapi
VOLUME /data
EXPOSE 5000

# Ctrl-C and `docker stop` end it at once, as process 1 too.
ENTRYPOINT ["tabbyapi", "serve", "--host", "0.0.0.0", "--port", "5000"]
