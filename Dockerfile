# One image for the web server (the default command), pollers and commands. README and docs/operating.md say how to run it.
FROM python:3.12-slim-bookworm

ENV VIRTUAL_ENV=/opt/seqpulse \
    PATH=/opt/seqpulse/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SEQPULSE_STATIC_ROOT=/srv/seqpulse/static \
    SEQPULSE_DATA_DIR=/var/lib/seqpulse \
    SEQPULSE_BIND=0.0.0.0 \
    PORT=8000

RUN groupadd --gid 10001 seqpulse \
    && useradd --uid 10001 --gid seqpulse --home-dir /var/lib/seqpulse --no-create-home --shell /usr/sbin/nologin seqpulse \
    && install --directory --owner=seqpulse --group=seqpulse /opt/seqpulse /srv/seqpulse /var/lib/seqpulse

# Copied files belong to root: the service cannot change its own code.
WORKDIR /app
USER 10001:10001

COPY requirements/base.txt requirements/uv.txt requirements/
COPY ops/install.sh ops/install.sh
COPY ops/image/install.sh ops/image/install.sh
RUN sh ops/image/install.sh

COPY . .
RUN sh ops/image/prepare.sh

EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "seqpulse.observability.healthcheck", "web"]
CMD ["gunicorn", "-c", "python:seqpulse.gunicorn_config", "seqpulse.wsgi:application"]
