# Two stages: the first installs the locked wheels, the second has them, the package and no installer.
# BASE is any Debian-like image with Python 3.11 or newer as `python3`, and its `venv` module.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS builder
COPY requirements.txt /tmp/requirements.txt
RUN python3 -m venv /tmp/installer \
    && python3 -m venv --without-pip /opt/signalbox \
    && /tmp/installer/bin/python -m pip --python /opt/signalbox/bin/python --disable-pip-version-check \
        install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r /tmp/requirements.txt
COPY proxy /tmp/proxy
COPY config/signalbox.yaml /tmp/proxy/config/default.yaml
RUN set -eu \
    && site=$(/opt/signalbox/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
    && mv /tmp/proxy "$site/proxy" \
    && printf '%s\n' '#!/opt/signalbox/bin/python' 'from proxy.cli import main' '' 'raise SystemExit(main())' > /opt/signalbox/bin/signalbox \
    && chmod 0755 /opt/signalbox/bin/signalbox \
    && /opt/signalbox/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash "$site" \
    && install -d -o 65532 -g 65532 -m 0750 /var/lib/signalbox

FROM ${BASE}
LABEL org.opencontainers.image.title="Signalbox" \
      org.opencontainers.image.description="A drop-in OpenAI-compatible reverse proxy" \
      org.opencontainers.image.licenses="Apache-2.0"
# SAFEPATH keeps the working directory, which is writable, off the import path.
ENV PATH=/opt/signalbox/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    SIGNALBOX_CONFIG=/etc/signalbox/signalbox.yaml \
    SIGNALBOX_HOST=0.0.0.0
COPY --from=builder /opt/signalbox /opt/signalbox
COPY --from=builder --chown=65532:65532 /var/lib/signalbox /var/lib/signalbox
COPY config/signalbox.yaml /etc/signalbox/signalbox.yaml
# What the base image brings and a server has no use for: its installer, and programs that change the user.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3.*/ensurepip /usr/local/lib/python3.*/site-packages/pip* \
    && find / -xdev -perm /6000 -type f -exec chmod a-s {} +
# `data_dir` is relative by default: relative to the one place that can be written to.
WORKDIR /var/lib/signalbox
VOLUME /var/lib/signalbox
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["signalbox", "healthcheck"]
ENTRYPOINT ["signalbox"]
CMD ["serve"]
