// SPDX-License-Identifier: Apache-2.0
// Prints the tables of docs/job-file.md.
#include <cstdio>

#include "launch/job_keys.h"

int main() { return std::fputs(talaria::launch::job_file_reference().c_str(), stdout) < 0 ? 1 : 0; }
