# docker build -t scoter . && docker run --rm -v "$PWD/data:/data" scoter make quickstart
FROM python:3.12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /scoter
COPY . .
ENV OMP_NUM_THREADS=1 SCOTER_DATA=/data
RUN make setup
# The two commands: the build fails where they do.
RUN make quickstart
RUN make test
CMD ["make", "help"]
