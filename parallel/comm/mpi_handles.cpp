// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/mpi_handles.h"

#include <string>

#include "cluster/base/error.h"

namespace talaria::parallel {
namespace {

bool finalized() noexcept {
  int flag = 0;
  return MPI_Finalized(&flag) != MPI_SUCCESS || flag != 0;
}

}  // namespace

void check_mpi(int rc, const char* call) {
  if (rc == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  if (MPI_Error_string(rc, text, &length) != MPI_SUCCESS) length = 0;
  fail("{}: {} (MPI error {})", call, std::string(text, static_cast<std::size_t>(length)), rc);
}

void MpiCommTraits::close(Handle comm) noexcept {
  if (!finalized()) MPI_Comm_free(&comm);  // nothing to be done about a failure here
}

void MpiGroupTraits::close(Handle group) noexcept {
  if (!finalized()) MPI_Group_free(&group);
}

void return_errors(MPI_Comm comm) {
  check_mpi(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

}  // namespace talaria::parallel
