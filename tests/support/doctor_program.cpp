// SPDX-License-Identifier: Apache-2.0
// `talaria doctor` by itself, with the worker and the mpirun that a test names:
// doctor_program WORKER MPIRUN ARGS...
#include <cstdio>

#include "coordinator/doctor/doctor.h"

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  talaria::launch::Tools tools;
  tools.worker = argv[1];
  tools.mpirun = argv[2];
  return talaria::doctor::doctor_command({argv + 3, argv + argc}, tools);
}
