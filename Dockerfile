# Builds the agent's image. Run it with the host's network and BPF file system, since it drives the host's kernel:
#   docker run --network=host --privileged -v /sys/fs/bpf:/sys/fs/bpf -v /etc/penstock:/etc/penstock:ro penstock agent
FROM node:20-bookworm-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends clang-19 libbpf-dev linux-libc-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/build-bpf.sh scripts/
COPY bpf bpf
RUN bash scripts/build-bpf.sh
COPY schema schema
COPY src src
RUN node_modules/.bin/tsc -p tsconfig.build.json && npm prune --omit=dev

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends libbpf1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/node /usr/local/bin/node
WORKDIR /opt/penstock
COPY package.json LICENSE ./
COPY bpf/LICENSE bpf/LICENSE
COPY schema schema
COPY policies policies
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/dist dist
ENTRYPOINT ["node", "/opt/penstock/dist/cli/main.js"]
CMD ["--help"]
