// SPDX-License-Identifier: Apache-2.0
// What the MPI library of this process is and can do, for diagnosis.
#pragma once

#include <string>

namespace talaria::parallel {

struct MpiProbe {
  std::string library;   // MPI_Get_library_version's text, on one line
  std::string version;   // "4.1.4", as the library names itself; "" where it does not
  std::string standard;  // "3.1"
  std::string
      thread_level;  // the highest that it provides: "single", "funneled", "serialized", "multiple"
  int rank = 0;
  int size = 1;  // of the world, whose ranks have reached one another
};

// Starts MPI, lets all ranks of the world add up, and ends MPI: once in a process, which makes no
// Process then. Collective over the world; without mpirun a world of one, which starts no daemon.
// Throws Error; MPI itself may end the process.
MpiProbe probe_mpi();

}  // namespace talaria::parallel
