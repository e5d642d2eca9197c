# syntax=docker/dockerfile:1
# The service as wheels in a virtual environment: the first stage builds, the second has neither sources nor tools.

ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS build
ARG UV_VERSION=0.13.9
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
RUN pip install --no-cache-dir "uv==${UV_VERSION}"
WORKDIR /src

# Dependencies first: they change less often than the sources, and come as wheels with the hashes of the lock.
COPY pyproject.toml uv.lock ./
COPY proto/pyproject.toml proto/
COPY client/pyproject.toml client/
COPY plugins/pyproject.toml plugins/
COPY connectors/bromcom/pyproject.toml connectors/bromcom/
COPY connectors/wonde/pyproject.toml connectors/wonde/
COPY server/pyproject.toml server/
RUN uv export --frozen --no-dev --no-emit-workspace --no-annotate \
        --package schoolgate-server --package schoolgate-bromcom --package schoolgate-wonde --output-file /tmp/requirements.txt \
    && uv venv /opt/schoolgate \
    && uv pip install --python /opt/schoolgate --no-build --require-hashes --requirements /tmp/requirements.txt

COPY LICENSE ./
COPY proto proto
COPY client client
COPY plugins plugins
COPY connectors connectors
COPY server server
RUN uv build --all-packages --wheel --out-dir /wheels \
    && uv pip install --python /opt/schoolgate --no-deps /wheels/*.whl

FROM python:${PYTHON}
RUN useradd --system --uid 10001 --user-group --home-dir /nonexistent --no-create-home schoolgate
COPY --from=build /opt/schoolgate /opt/schoolgate
ENV PATH=/opt/schoolgate/bin:$PATH \
    PYTHONUNBUFFERED=1
# Nothing is kept in the container: production is a MongoDB URI, and the embedded mongod is not in this image.
USER 10001:10001
EXPOSE 50551
# Asks the gRPC health service, so "healthy" means that schools can be served, not that a process exists.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["schoolgate", "health"]
ENTRYPOINT ["schoolgate"]
CMD ["serve"]
