# flexcsi with its bundled drivers. A vendor's image is `FROM` this one and a COPY: deploy/vendor/Dockerfile.
#
#   docker build -t flexcsi .
#
# BASE: an image of Debian (or a derivative) with Node.js 26 and npm.
ARG BASE=node:26-slim

FROM ${BASE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN npm run build && chmod 755 dist/main.js

# The dependencies of the program alone. The image has a Node of its own: that of the optional ones is for checkouts.
FROM ${BASE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --omit=optional

FROM ${BASE}
# libatomic1: Node itself, missing in some slim images. tini: whoever is the first process has to collect what FUSE
# daemons and crashed drivers leave behind. The rest is what flexcsi and the bundled drivers call.
RUN apt-get update \
  && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
    libatomic1 tini \
    util-linux mount e2fsprogs xfsprogs btrfs-progs \
    nfs-common cifs-utils fuse3 sshfs openssh-client \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY package.json LICENSE ./
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY proto proto
COPY drivers /drivers
RUN ln -s /drivers drivers && ln -s /app/dist/main.js /usr/local/bin/flexcsi
# -s: it collects them also where it is not process 1, in a pod with hostPID.
ENTRYPOINT ["tini", "-s", "--", "flexcsi"]
CMD ["serve", "--plugin-dir", "/drivers"]
