// SPDX-License-Identifier: Apache-2.0
// Run by comm_crash_test under mpirun: prints each rank's pid, works a little in a shm group of all
// ranks, then rank VICTIM kills itself while the others go on.   comm_crash_program PREFIX VICTIM
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <unistd.h>

#include "cluster/base/error.h"
#include "parallel/comm/process.h"

int main(int argc, char** argv) {
  using talaria::fail;
  talaria::parallel::Process process;
  return process.run([&] {
    if (argc != 3) fail("usage: comm_crash_program PREFIX VICTIM");
    talaria::parallel::GroupOptions options;
    options.shm_prefix = argv[1];
    const auto world = process.make_world(options);
    if (world->transport() != "shm") fail("the group is {}", world->transport());
    fmt::print("pid {}\n", ::getpid());
    std::fflush(stdout);
    std::vector<float> data(1 << 20, 1.0F);
    for (int step = 0; step < 1000; ++step) {
      world->all_reduce_sum(std::span<float>(data));
      if (step == 3 && process.rank() == std::atoi(argv[2])) ::kill(::getpid(), SIGKILL);
    }
    fmt::print("finished\n");
    return 0;
  });
}
