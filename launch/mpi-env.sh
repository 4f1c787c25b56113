# SPDX-License-Identifier: Apache-2.0
# Sourced, not run: settings under which mpirun starts ranks anywhere, on a laptop, in a container, as root.
# Open MPI only; other MPIs do not look at them. A cluster job should not source this: binding ranks to cores is faster
# there.
# shellcheck shell=sh

# Containers and CI run as root, which mpirun refuses unless told twice.
export OMPI_ALLOW_RUN_AS_ROOT=1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# More ranks than cores, and ranks that share cores: start, leave placing to the kernel, yield while waiting.
# (Open MPI 4, then 5.)
export OMPI_MCA_rmaps_base_oversubscribe=1
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
export OMPI_MCA_hwloc_base_binding_policy=none
export PRTE_MCA_hwloc_default_binding_policy=none
export OMPI_MCA_mpi_yield_when_idle=1

# Containers forbid reading another process's memory; without this every large message starts with a complaint.
export OMPI_MCA_btl_vader_single_copy_mechanism=none
