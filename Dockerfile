# cdcd as a container: nothing in it that builds, no shell tools beyond the base image's, an unprivileged user, a root file system that may be
# read-only. docs/install.md says how to run it.

FROM python:3.13-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY cdcd ./cdcd
RUN python -m venv --without-pip /opt/cdcd && \
    python -m pip --python /opt/cdcd/bin/python install --only-binary :all: --no-binary cdcd ".[otel,demo]" && \
    python -m compileall -q /opt/cdcd/lib

FROM python:3.13-slim-bookworm

LABEL org.opencontainers.image.title="cdcd" \
      org.opencontainers.image.description="Change data capture to webhooks: every committed row, reliably, in order, in milliseconds." \
      org.opencontainers.image.licenses="Apache-2.0"

# Packages are not installed here, and pip is not needed for that any more.
# The name of the user is for the embedded PostgreSQL, which wants one.
RUN rm -rf /usr/local/lib/python3.13/site-packages/pip* /usr/local/lib/python3.13/ensurepip /usr/local/bin/pip* && \
    groupadd --gid 10001 cdcd && \
    useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/cdcd --shell /usr/sbin/nologin cdcd && \
    install -d -o 10001 -g 10001 -m 0700 /var/lib/cdcd
COPY --from=build /opt/cdcd /opt/cdcd

ENV PATH=/opt/cdcd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STATE_DIRECTORY=/var/lib/cdcd
WORKDIR /var/lib/cdcd
USER 10001:10001
VOLUME ["/var/lib/cdcd"]
EXPOSE 4122
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 \
    CMD ["cdcd", "health", "--live", "--config", "/etc/cdcd/cdcd.yaml"]

ENTRYPOINT ["cdcd"]
CMD ["run", "--config", "/etc/cdcd/cdcd.yaml", "--log-format", "json"]
