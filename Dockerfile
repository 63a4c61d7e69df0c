# FOCVS with its weights; nothing is downloaded when it runs.
#
#   docker build -t focvs .
#   docker build -t focvs:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#   docker run --rm -v "$PWD:/data" focvs scan.nii.gz out/
#   docker run --rm --gpus all -v "$PWD:/data" focvs:cuda scan.nii.gz out/
#   docker run --rm -v "$PWD:/data" --entrypoint focvs-bids focvs bids/ derivatives/focvs participant
#
# As another user, so that results belong to you: --user "$(id -u):$(id -g)".
FROM python:3.12-slim-bookworm

# of the torch build: CPU, or one of PyTorch's CUDA indices
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /opt/focvs
COPY constraints.txt ./
RUN pip install --no-cache-dir --index-url "${TORCH_INDEX}" --extra-index-url https://pypi.org/simple \
        -c constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY focvs focvs
COPY conf conf
COPY checkpoints checkpoints
RUN pip install --no-cache-dir -c constraints.txt '.[dicom,formats,launchers,stacks]' \
    && useradd --create-home --uid 1000 focvs \
    && focvs doctor

USER 1000
WORKDIR /data
# caches go where any user may write
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib HF_HUB_OFFLINE=1
ENTRYPOINT ["focvs"]
CMD ["--help"]
