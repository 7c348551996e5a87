// SPDX-License-Identifier: Apache-2.0
// MPI's handles with one owner each, and the one place where its return codes are checked. Only
// the sources of the mpi transport and the bootstrap include this.
#pragma once

#include <mpi.h>

#include "cluster/base/handle.h"

namespace talaria::parallel {

// Throws Error "MPI_Isend: text (MPI error 15)" unless rc is MPI_SUCCESS.
void check_mpi(int rc, const char* call);

struct MpiCommTraits {
  using Handle = MPI_Comm;
  static Handle empty() { return MPI_COMM_NULL; }
  // Does nothing once MPI is finalized.
  static void close(Handle comm) noexcept;
};
using UniqueMpiComm = UniqueHandle<MpiCommTraits>;

struct MpiGroupTraits {
  using Handle = MPI_Group;
  static Handle empty() { return MPI_GROUP_NULL; }
  static void close(Handle group) noexcept;
};
using UniqueMpiGroup = UniqueHandle<MpiGroupTraits>;

// Errors of this communicator come back as return codes.
void return_errors(MPI_Comm comm);

}  // namespace talaria::parallel
