// SPDX-License-Identifier: Apache-2.0
// `talaria-worker chat`: a conversation with a checkpoint, on one process; its parts are in
// worker/chat/.
#pragma once

namespace talaria::worker {

// argv[0] is the name shown in messages. Returns the exit code; throws UsageError and Error.
int chat_command(int argc, char** argv);

}  // namespace talaria::worker
