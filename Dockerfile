# One image for every broker: `docker compose up --build`. The coordination service is Apache ZooKeeper's own image.
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY coordination coordination
COPY brokerdemo brokerdemo
# scenarios/ is not part of the image: they start clusters of their own.
RUN python -m venv /opt/brokerdemo \
 && /opt/brokerdemo/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt .

FROM python:3.12-slim
COPY --from=build /opt/brokerdemo /opt/brokerdemo
# Made here with its owner, so that a new named volume takes both over.
RUN useradd --system --uid 10001 --home-dir /var/lib/brokerdemo --create-home brokerdemo \
 && install -d -o brokerdemo -g brokerdemo -m 0700 /var/lib/brokerdemo
ENV PATH=/opt/brokerdemo/bin:$PATH \
    BROKERDEMO_HOME=/var/lib/brokerdemo \
    PYTHONUNBUFFERED=1
USER brokerdemo
WORKDIR /var/lib/brokerdemo
VOLUME /var/lib/brokerdemo
EXPOSE 9092
# The first SIGTERM stops the brokers properly: they resign, close their sessions and are missed by nobody.
STOPSIGNAL SIGTERM
ENTRYPOINT ["brokerdemo"]
CMD ["up", "-n", "1"]
