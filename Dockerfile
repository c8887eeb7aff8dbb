# docker build -t fashionclip .                                          for CPUs
# docker build -t fashionclip:gpu --build-arg TORCH_BACKEND=cu130 .      for NVIDIA GPUs; any backend that uv knows
# docker run --rm --user "$(id -u)" -v "$PWD:/work" fashionclip train dataset=demo model=tiny
# docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" fashionclip:gpu train dataset=demo trainer=gpu
# Both stand on the same system: torch for GPUs brings CUDA's libraries in its wheels and needs only the host's driver.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

ARG TORCH_BACKEND=cpu
COPY pyproject.toml constraints.txt README.md LICENSE /src/
COPY configs /src/configs
COPY fashionclip /src/fashionclip
# The versions of the lock, but not its hashes: those of torch are of the package index's build, whatever the backend.
RUN pip install --no-cache-dir uv==0.13.9 \
    && uv pip install --system --no-cache --no-verify-hashes --torch-backend "${TORCH_BACKEND}" --constraint /src/constraints.txt /src

ENV HOME=/tmp
USER 1000
WORKDIR /work
EXPOSE 8000
ENTRYPOINT ["fashionclip"]
CMD ["--help"]
