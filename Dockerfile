# One file, one target per process: gateway, llm-worker, tts-worker, stt-worker.
# Nothing here needs BuildKit. Node runs the TypeScript as it is: there is no build step.

FROM node:26-bookworm-slim AS workspace
RUN npm install --global --silent pnpm@12
WORKDIR /app
COPY package.json pnpm-lock.yaml pnpm-workspace.yaml ./
COPY apps/gateway/package.json apps/gateway/
COPY apps/llm-worker/package.json apps/llm-worker/
COPY apps/tts-worker/package.json apps/tts-worker/
COPY apps/stt-worker/package.json apps/stt-worker/
COPY apps/cli/package.json apps/cli/
COPY packages/shared/package.json packages/shared/
COPY packages/testing/package.json packages/testing/
COPY e2e/package.json e2e/
COPY bench/package.json bench/
COPY scripts/package.json scripts/
# In place: `pnpm deploy` puts our packages under node_modules, where Node strips no types.
RUN pnpm install --prod --frozen-lockfile
COPY packages/shared packages/shared
COPY apps apps

FROM node:26-bookworm-slim AS llm-worker
RUN mkdir /data && chown node:node /data
ENV NODE_ENV=production DATA_DIR=/data HEALTH_PORT=9000
WORKDIR /app
COPY --from=workspace /app /app
USER node
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.HEALTH_PORT}/health/ready`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "apps/llm-worker/src/main.ts"]

FROM node:26-bookworm-slim AS tts-worker
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends espeak-ng ffmpeg \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir /data && chown node:node /data
ENV NODE_ENV=production DATA_DIR=/data HEALTH_PORT=9000
WORKDIR /app
COPY --from=workspace /app /app
USER node
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.HEALTH_PORT}/health/ready`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "apps/tts-worker/src/main.ts"]

FROM node:26-bookworm-slim AS stt-worker
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends ffmpeg pocketsphinx pocketsphinx-en-us \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir /data && chown node:node /data
ENV NODE_ENV=production DATA_DIR=/data HEALTH_PORT=9000
WORKDIR /app
COPY --from=workspace /app /app
USER node
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.HEALTH_PORT}/health/ready`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "apps/stt-worker/src/main.ts"]

FROM node:26-bookworm-slim AS gateway
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends ffmpeg \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir /data && chown node:node /data
ENV NODE_ENV=production DATA_DIR=/data HOST=0.0.0.0 PORT=8000
WORKDIR /app
COPY --from=workspace /app /app
USER node
EXPOSE 8000
# Alive, not ready: a missing worker is no reason to call the gateway ill.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/health/live`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "apps/gateway/src/main.ts"]
