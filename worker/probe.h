// SPDX-License-Identifier: Apache-2.0
// `talaria-worker --probe`: what this build and its libraries are and what they find here, as one
// JSON object, for `talaria doctor`. Works without mpirun; under it, ranks prove that they reach
// one another and rank 0 prints.
#pragma once

namespace talaria::worker {

// Prints one line on stdout:
//   cpu   { isa, missing }: the kernels' instruction set; the feature this processor lacks, or ""
//   mpi   { library, version, standard, thread_level, ranks }, or { error } where MPI does not
//   start hdf5, onednn: versions cuda  { module, loaded, reason, usable, devices: [{ name,
//   memory_bytes, capability }] } nccl  { version } or { error }
// Returns the exit code: 0 unless the answer could not be given.
int probe_command();

}  // namespace talaria::worker
