# The kit for Binder, or anywhere else:
#   docker build -t sensorium-kit . && docker run --rm -p 8888:8888 sensorium-kit
# What goes in, on top of the base image: 1.2 GB of Python packages (0.76 GB of them torch) and
# 11 MB of repository, measured as pip installs them; conda's own libraries are not in that number.
FROM condaforge/miniforge3:25.11.0-1

# Binder passes both and runs the container as this user; notebooks never run as root.
ARG NB_USER=jovyan
ARG NB_UID=1000
ENV USER=${NB_USER} NB_UID=${NB_UID} HOME=/home/${NB_USER} PIP_NO_CACHE_DIR=1

# Newer Ubuntu images come with a user of their own under uid 1000: it makes room.
RUN if old=$(getent passwd ${NB_UID}); then userdel "${old%%:*}"; fi \
    && useradd --create-home --home-dir ${HOME} --shell /bin/bash --uid ${NB_UID} ${NB_USER}

# Before the rest is copied, so that only a change of the environment installs it again.
COPY environment.yml /tmp/environment.yml
RUN conda env create --yes --quiet --prefix /opt/kit --file /tmp/environment.yml \
    && conda clean --all --yes --quiet \
    && rm /tmp/environment.yml
ENV PATH=/opt/kit/bin:${PATH}

COPY --chown=${NB_UID}:${NB_UID} . ${HOME}
# Only what pip wrote changes its owner: a layer holds every file that chown touches once more.
RUN pip install --no-deps --no-build-isolation --editable ${HOME} \
    && chown --recursive ${NB_UID}:${NB_UID} ${HOME}/*.egg-info

USER ${NB_UID}
WORKDIR ${HOME}
EXPOSE 8888

# tini hands signals on and execs what it is given: Binder's own command replaces CMD.
ENTRYPOINT ["tini", "--"]
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser", "--notebook-dir=notebooks"]
