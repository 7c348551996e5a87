// SPDX-License-Identifier: Apache-2.0
// Looking at processes through /proc: which ones belong to an attempt. A process may end, start
// another or become one of another user between any two looks, so nothing here fails: what cannot
// be read is not there.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "cluster/base/file.h"

namespace talaria::launch {

// A file of /proc or of a control group, whole; empty when it cannot be read.
std::string read_proc_file(const std::string& path);

// 'R', 'S', 'T' (stopped), 'Z' ... of a process; 0 when there is none.
char process_state(pid_t pid);

// A process, by a handle that no later process of the same number can have.
struct FoundProcess {
  pid_t pid = 0;
  UniqueFd handle;
};

// Every live process that carries TALARIA_ATTEMPT_ID=attempt_id in its environment, and every child
// of this process (to a subreaper come all whose parents died, whatever their environment). Never
// this process itself.
std::vector<FoundProcess> find_attempt_processes(const std::string& attempt_id);

// Whether a process on this node has the text in its command line.
bool is_on_a_command_line(const std::string& text);

// Sends a signal to each `talaria-launch rank` of the attempt on this node that waits for it (has
// it blocked, so it cannot die of it). One that has not come so far yet looks at the attempt's
// files when it does.
void signal_shims(const std::string& attempt_id, int signal);

}  // namespace talaria::launch
