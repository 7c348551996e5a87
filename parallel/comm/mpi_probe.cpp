// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/mpi_probe.h"

#include <cstdlib>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "parallel/comm/mpi_handles.h"

namespace talaria::parallel {
namespace {

const char* level_name(int level) {
  if (level == MPI_THREAD_MULTIPLE) return "multiple";
  if (level == MPI_THREAD_SERIALIZED) return "serialized";
  if (level == MPI_THREAD_FUNNELED) return "funneled";
  return "single";
}

// "Open MPI v4.1.4, package: ..." -> "4.1.4".
std::string version_of(const std::string& library) {
  const std::string name = "Open MPI v";
  const std::size_t at = library.find(name);
  if (at == std::string::npos) return "";
  const std::size_t begin = at + name.size();
  return library.substr(begin, library.find_first_of(", \n", begin) - begin);
}

void let_ranks_meet(const MpiProbe& probe) {
  const int own = probe.rank + 1;
  int sum = 0;
  check_mpi(MPI_Allreduce(&own, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD), "MPI_Allreduce");
  const int expected = probe.size * (probe.size + 1) / 2;
  if (sum != expected)
    fail("MPI_Allreduce: {} ranks add up to {}, not {}", probe.size, sum, expected);
}

}  // namespace

MpiProbe probe_mpi() {
  // Alone, Open MPI would start a daemon; not needed to ask for versions, and it may be missing.
  check_sys(::setenv("OMPI_MCA_ess_singleton_isolated", "1", 0), "setenv",
            "OMPI_MCA_ess_singleton_isolated");
  MpiProbe probe;
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  check_mpi(MPI_Get_library_version(text, &length), "MPI_Get_library_version");
  std::string library(text, static_cast<std::size_t>(length));
  // Open MPI counts the NUL at the end.
  while (!library.empty() && (library.back() == '\0' || library.back() == '\n')) library.pop_back();
  probe.version = version_of(library);
  probe.library = one_line(library);
  int major = 0;
  int minor = 0;
  check_mpi(MPI_Get_version(&major, &minor), "MPI_Get_version");
  probe.standard = fmt::format("{}.{}", major, minor);
  int provided = 0;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  return_errors(MPI_COMM_WORLD);
  probe.thread_level = level_name(provided);
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &probe.rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &probe.size), "MPI_Comm_size");
  let_ranks_meet(probe);
  check_mpi(MPI_Finalize(), "MPI_Finalize");
  return probe;
}

}  // namespace talaria::parallel
